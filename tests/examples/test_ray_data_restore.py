"""Restoring on a Ray cluster of this machine's cores equals restoring in one process."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unveil import Restorer
from unveil.imaging import load_rgb, save_png
from unveil.inference.batch import restore_files
from unveil.inference.plan import Plan, plan

ray = pytest.importorskip("ray", reason="ray is not installed: its example is not tested")

# Ray's own clean-up is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

_EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_data_restore.py"
_SAMPLE = _EXAMPLE.parent / "samples" / "chelsea.png"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(_EXAMPLE))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    pixels = load_rgb(_SAMPLE)
    for i in range(5):
        save_png(folder / ("below" if i % 2 else ".") / f"{i}.png", pixels[: 24 + i, : 40 - i])
    (folder / "no-picture.png").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def cluster() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_results_are_the_bytes_of_one_process_though_a_worker_dies(
    example: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    class Dying(example["Worker"]):  # type: ignore[misc]
        """Ends its process at its first batch, once."""

        def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
            mark = tmp_path / "died"
            if not mark.exists():
                mark.touch()
                os._exit(1)
            found: dict[str, list[Any]] = super().__call__(batch)
            return found

    made = plan([photos], output=tmp_path / "ray", recursive=True)
    rows = example["restore_plan"](made, workers=1, cores=1, model="identity", worker=Dying)
    assert (tmp_path / "died").exists()
    assert sorted(row["status"] for row in rows) == ["failed"] + ["restored"] * 5
    alone = plan([photos], output=tmp_path / "alone", recursive=True)
    list(restore_files(Restorer("identity"), alone.jobs))
    for job in alone.jobs:
        other = tmp_path / "ray" / job.target.relative_to(tmp_path / "alone")
        assert job.target.exists() == other.exists()
        if other.exists():
            assert job.target.read_bytes() == other.read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_file_that_kills_every_worker_is_reported_and_the_others_are_restored(
    example: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    class Deadly(example["Worker"]):  # type: ignore[misc]
        """Ends its process at one file, always."""

        def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
            if any(Path(source).name == "2.png" for source in batch["source"]):
                os._exit(1)
            found: dict[str, list[Any]] = super().__call__(batch)
            return found

    made = plan([photos], output=tmp_path / "out", recursive=True)
    rows = example["restore_plan"](made, workers=1, cores=1, model="identity", worker=Deadly)
    assert len(rows) == len(made.jobs)
    assert {Path(row["source"]).name for row in rows} == {job.source.name for job in made.jobs}
    died = [row for row in rows if "its worker died 3 times" in row["reason"]]
    assert str(photos / "2.png") in {row["source"] for row in died}
    assert len(died) <= example["FILES_PER_TASK"]


def test_more_workers_than_cores_are_a_usage_error(
    example: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        example["main"]([str(tmp_path), str(tmp_path / "out"), "--workers", "999"])
    assert "999 workers with 1 cores each, but" in capsys.readouterr().err


def test_a_file_that_fails_is_tried_again(
    example: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    class Unlocked(example["Worker"]):  # type: ignore[misc]
        def __init__(self) -> None:
            self.cores, self.retries, self.restorer = [0], 2, Restorer("identity")
            self.calls = 0

    # The first try finds the output folder taken by a file.
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


def test_a_plan_of_nothing_needs_no_cluster(example: dict[str, Any]) -> None:
    assert example["restore_plan"](Plan(), workers=1, cores=1) == []


def test_cores_are_claimed_once_and_freed_by_the_end_of_the_process(tmp_path: Path) -> None:
    usable = len(os.sched_getaffinity(0))
    code = f"""
import os, pathlib, runpy, sys
claim = runpy.run_path({str(_EXAMPLE)!r})["claim_cores"]
folder = pathlib.Path({str(tmp_path)!r})
assert len(claim({usable}, folder)) == {usable} == len(os.sched_getaffinity(0))
try:
    claim(1, folder)
except RuntimeError as error:
    print(error)
"""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == "0 cores are free, 1 asked for: use fewer workers", (
            done.stderr
        )
