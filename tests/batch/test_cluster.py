"""Restoring on a Ray cluster of this machine's cores equals restoring in one process."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unveil import Restorer
from unveil.batch.cluster import Worker, restore_on_cluster
from unveil.batch.jobs import Plan, plan
from unveil.batch.run import restore_files
from unveil.errors import InputError
from unveil.imaging import save_png

# Ray's own clean-up is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

IDENTITY = {"model": "identity"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for i in range(5):
        save_png(folder / ("below" if i % 2 else ".") / f"{i}.png", pixels[: 24 + i, : 40 - i])
    (folder / "no-picture.png").write_text("no picture")
    return folder


@pytest.fixture(autouse=True, scope="module")
def _usual_priority() -> Any:
    """Ray's workers start with a low one: on a busy machine they would get next to nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield


def _patiently(start: Any) -> None:
    """Start a node; Ray gives up after 30 s, which a busy machine may need."""
    for _ in range(9):
        try:
            start()
        except Exception as error:
            if type(error) is not Exception:
                raise
        else:
            return
    start()


@pytest.fixture(scope="module")
def cluster() -> Any:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    # Of its own, whatever other cluster runs here.
    given = {"num_cpus": len(os.sched_getaffinity(0)), "include_dashboard": False}
    _patiently(lambda: ray.init("local", log_to_driver=False, **given))
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_results_are_the_bytes_of_one_process_though_a_worker_dies(
    photos: Path, tmp_path: Path
) -> None:
    class Dying(Worker):
        """Ends its process at its first batch, once."""

        def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
            mark = tmp_path / "died"
            if not mark.exists():
                mark.touch()
                os._exit(1)
            return super().__call__(batch)

    made = plan([photos], output=tmp_path / "ray", recursive=True)
    outcomes = restore_on_cluster(made, workers=1, options=IDENTITY, worker=Dying)
    assert (tmp_path / "died").exists()
    assert sorted(outcome.status for outcome in outcomes) == ["failed"] + ["restored"] * 5
    alone = plan([photos], output=tmp_path / "alone", recursive=True)
    list(restore_files(Restorer("identity"), alone.jobs))
    for job in alone.jobs:
        other = tmp_path / "ray" / job.target.relative_to(tmp_path / "alone")
        assert job.target.exists() == other.exists()
        if other.exists():
            assert job.target.read_bytes() == other.read_bytes()
    again = restore_on_cluster(made, workers=1, options=IDENTITY)
    assert sorted(outcome.status for outcome in again) == ["failed"] + ["skipped"] * 5


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_file_that_kills_every_worker_is_reported_and_the_others_are_restored(
    photos: Path, tmp_path: Path
) -> None:
    class Deadly(Worker):
        """Ends its process at one file, always."""

        def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
            if any(Path(source).name == "2.png" for source in batch["source"]):
                os._exit(1)
            return super().__call__(batch)

    made = plan([photos], output=tmp_path / "out", recursive=True)
    outcomes = restore_on_cluster(made, workers=1, options=IDENTITY, worker=Deadly)
    assert [outcome.source for outcome in outcomes] == [job.source for job in made.jobs]
    failed = {outcome.source.name: outcome.reason for outcome in outcomes if outcome.reason}
    assert set(failed) == {"2.png", "no-picture.png"}
    assert "its worker died 3 times" in failed["2.png"]
    assert sum(outcome.status == "restored" for outcome in outcomes) == 4
    assert sum(job.target.exists() for job in made.jobs) == 4


@pytest.mark.slow
def test_a_killed_driver_leaves_whole_files_and_a_second_run_does_the_rest(
    photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    (photos / "no-picture.png").unlink()
    code = """
import sys, time
from pathlib import Path
from unveil.batch.cluster import Worker, restore_on_cluster
from unveil.batch.jobs import plan
photos, out = map(Path, sys.argv[1:])
class Stuck(Worker):
    def __call__(self, batch):
        while any(out.rglob("*.png")):
            time.sleep(1)
        return super().__call__(batch)
made = plan([photos], output=out, recursive=True)
restore_on_cluster(made, workers=1, options={"model": "identity"}, worker=Stuck)
"""
    out = tmp_path / "out"
    words = [sys.executable, "-c", code, str(photos), str(out)]
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(words, stdout=log, stderr=log)
    # A batch is done, and the next one waits for ever.
    while not (begun := list(out.rglob("*.png"))) and driver.poll() is None:
        time.sleep(0.5)
    driver.kill()
    driver.wait()
    assert begun, (tmp_path / "log").read_text()
    again = subprocess.run(
        [sys.executable, "-m", "unveil", "restore", str(photos), "-r", "-o", str(out), "--model",
         "identity", "--ray", "local", "--workers", "1", "--report", str(tmp_path / "report.csv")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    report = (tmp_path / "report.csv").read_text()
    assert report.count(",skipped,") + report.count(",restored,") == 5
    assert ",skipped," in report
    assert ",restored," in report
    assert len(list(out.rglob("*.png"))) == 5


@pytest.mark.slow
def test_the_command_restores_on_two_nodes_and_writes_a_report(
    photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    nodes = Cluster()
    for _ in range(2):
        _patiently(lambda: nodes.add_node(num_cpus=1))
    try:
        listed, report = tmp_path / "list.txt", tmp_path / "report.csv"
        listed.write_text("".join(f"{path}\n" for path in sorted(photos.rglob("*.png"))))
        words = [sys.executable, "-m", "unveil", "restore", "--list", str(listed), "--output",
                 str(tmp_path / "out"), "--model", "identity", "--ray", nodes.address,
                 "--workers", "2", "--report", str(report)]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    finally:
        nodes.shutdown()
    assert done.returncode == 1, done.stderr
    lines = report.read_text().splitlines()
    assert lines[0].startswith("source,target,status,reason")
    assert sum(",restored," in line for line in lines) == 5
    assert sum(",failed," in line for line in lines) == 1
    assert len(list((tmp_path / "out").rglob("*.png"))) == 5


def test_more_workers_than_cores_are_refused(photos: Path) -> None:
    with pytest.raises(InputError, match="999 workers with 1 cores each, but"):
        restore_on_cluster(plan([photos]), workers=999)


def test_a_file_that_fails_is_tried_again(photos: Path, tmp_path: Path) -> None:
    class Unlocked(Worker):
        def __init__(self) -> None:
            from unveil.batch.run import Saving

            self.cores, self.retries, self.restorer = [0], 2, Restorer("identity")
            self.saving, self.calls = Saving(), 0

    made = plan([photos / "0.png"], output=tmp_path / "out")
    worker = Unlocked()
    real = worker.restorer.restore_image

    def fails_once(*args: Any, **kwargs: Any) -> Any:
        worker.calls += 1
        if worker.calls == 1:
            raise OSError("storage is away for a moment")
        return real(*args, **kwargs)

    worker.restorer.restore_image = fails_once  # type: ignore[method-assign]
    job = made.jobs[0]
    found = worker({"source": [str(job.source)], "target": [str(job.target)]})
    assert found["status"] == ["restored"]
    assert worker.calls == 2
    assert job.target.exists()


def test_a_plan_of_nothing_needs_no_cluster() -> None:
    assert restore_on_cluster(Plan()) == []


def test_cores_are_claimed_once_and_freed_by_the_end_of_the_process(tmp_path: Path) -> None:
    usable = len(os.sched_getaffinity(0))
    code = f"""
import os, pathlib
from unveil.batch import cluster
claim = cluster.claim_cores
folder = pathlib.Path({str(tmp_path)!r})
assert len(claim({usable}, folder)) == {usable} == len(os.sched_getaffinity(0))
cluster._PATIENCE_SECONDS = 0
print(len(claim(1, folder)))
"""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        # What is claimed by others is shared.
        assert done.stdout.strip() == str(usable), done.stderr
        assert "this worker shares" in done.stderr
