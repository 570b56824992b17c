"""Many files: nothing torn, nothing twice, and one bad file stops nothing."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from tests.inference.conftest import Darker, Identity

from unveil import create_model
from unveil.batch.jobs import plan
from unveil.batch.journal import NAME
from unveil.batch.run import Outcome, Saving, restore_files
from unveil.imaging import Develop, Image, Metadata, read_image, write_image
from unveil.inference import Restorer
from unveil.inference.image_files import read_source
from unveil.layers.statistics import GlobalStatistics
from unveil.models.checkpoint import save_checkpoint


def _folder(root: Path, number: int = 4) -> Path:
    (root / "in").mkdir()
    rng = np.random.default_rng(0)
    for i in range(number):
        pixels = rng.integers(60, 200, (20 + i, 30, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(root / "in" / f"{i}.png")
    return root / "in"


def _run(folder: Path, restorer: Restorer, saving: Saving | None = None) -> list[Outcome]:
    made = plan([folder], output=folder.parent / "out")
    assert not made.failed
    return list(restore_files(restorer, made.jobs, saving))


def _statuses(outcomes: list[Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def test_a_second_run_skips_what_is_done(tmp_path: Path) -> None:
    folder, restorer = _folder(tmp_path), Restorer(Darker())
    assert _statuses(_run(folder, restorer)) == ["restored"] * 4
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert _statuses(_run(folder, restorer)) == ["skipped"] * 4
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_is_done_depends_on_input_model_and_options(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 2)
    _run(folder, Restorer(Darker()))
    other = Restorer(Darker(), strength=0.5)
    reasons = [outcome.reason for outcome in _run(folder, other)]
    assert all("exists; give --force" in reason for reason in reasons)
    assert _statuses(_run(folder, other, Saving(force=True))) == ["restored"] * 2
    assert _statuses(_run(folder, other)) == ["skipped"] * 2
    PIL.Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "0.png")
    assert _statuses(_run(folder, other)) == ["failed", "skipped"]
    (tmp_path / "out" / "0.restored.png").unlink()
    assert _statuses(_run(folder, other)) == ["restored", "skipped"]


def _weights(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    return save_checkpoint(create_model("cu_mamba_tiny"), path)


def test_what_is_done_depends_on_the_weights(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 1)
    weights = _weights(tmp_path / "a.safetensors", 0)
    assert _statuses(_run(folder, Restorer(weights))) == ["restored"]
    assert _statuses(_run(folder, Restorer(weights))) == ["skipped"]
    _weights(tmp_path / "a.safetensors", 1)
    assert _statuses(_run(folder, Restorer(weights))) == ["failed"]


def test_what_is_done_depends_on_the_quality(tmp_path: Path) -> None:
    folder, restorer = _folder(tmp_path, 1), Restorer(Darker())
    (folder / "0.png").unlink()
    PIL.Image.new("RGB", (20, 20), "gray").save(folder / "0.jpg")
    assert _statuses(_run(folder, restorer, Saving(quality=80))) == ["restored"]
    assert _statuses(_run(folder, restorer, Saving(quality=80))) == ["skipped"]
    assert _statuses(_run(folder, restorer, Saving(quality=81))) == ["failed"]


def test_a_comparison_that_lacks_is_made(tmp_path: Path) -> None:
    folder, restorer = _folder(tmp_path, 2), Restorer(Darker())
    _run(folder, restorer)
    assert _statuses(_run(folder, restorer, Saving(compare=True))) == ["restored"] * 2
    assert _statuses(_run(folder, restorer, Saving(compare=True))) == ["skipped"] * 2
    (tmp_path / "out" / "1.restored.png.compare.png").unlink()
    assert _statuses(_run(folder, restorer, Saving(compare=True))) == ["skipped", "restored"]


def test_a_result_that_was_rewritten_at_its_size_is_not_taken_for_done(tmp_path: Path) -> None:
    folder, restorer = _folder(tmp_path, 1), Restorer(Identity())
    _run(folder, restorer)
    result = tmp_path / "out" / "0.restored.png"
    edited = result.read_bytes()[:-1] + b"x"
    result.write_bytes(edited)
    assert _statuses(_run(folder, restorer)) == ["failed"]
    assert result.read_bytes() == edited


def test_a_result_that_was_changed_is_not_taken_for_done(tmp_path: Path) -> None:
    folder, restorer = _folder(tmp_path, 1), Restorer(Identity())
    _run(folder, restorer)
    (tmp_path / "out" / "0.restored.png").write_bytes(b"mine now")
    assert _statuses(_run(folder, restorer)) == ["failed"]
    assert (tmp_path / "out" / "0.restored.png").read_bytes() == b"mine now"


def test_bad_files_are_told_and_the_others_done(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:300])
    (folder / "2.png").rename(folder / "2.jpg")
    (folder / "0.tif").touch()
    outcomes = {o.source.name: o for o in _run(folder, Restorer(Identity()))}
    assert outcomes["0.png"].status == outcomes["3.png"].status == "restored"
    assert "damaged" in outcomes["1.png"].reason
    assert "holds png, not what its name says; rename it to 2.png" in outcomes["2.jpg"].reason
    assert "empty" in outcomes["0.tif"].reason
    assert all("\n" not in outcome.reason for outcome in outcomes.values())
    made = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert made == [NAME, "0.restored.png", "3.restored.png"]


@pytest.mark.parametrize("error", [OverflowError("too big"), struct.error("out of range")])
def test_numbers_that_do_not_fit_cost_one_file(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(target: Path, image: Image, **options: Any) -> None:
        if target.name.startswith("0."):
            raise error
        write_image(target, image, **options)

    monkeypatch.setattr("unveil.batch.run.write_image", write)
    outcomes = _run(_folder(tmp_path, 2), Restorer(Identity()))
    assert _statuses(outcomes) == ["failed", "restored"]
    assert str(error) in outcomes[0].reason


def test_an_unwritable_place_is_told_for_each_file(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 2)
    (tmp_path / "out").touch()
    outcomes = _run(folder, Restorer(Identity()))
    assert _statuses(outcomes) == ["failed"] * 2
    assert all("cannot be made" in outcome.reason for outcome in outcomes)


def test_the_comparison_shows_both(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 1)
    _run(folder, Restorer(Darker()), Saving(compare=True))
    before = read_image(folder / "0.png").pixels
    after = read_image(tmp_path / "out" / "0.restored.png").pixels
    beside = read_image(tmp_path / "out" / "0.restored.png.compare.png").pixels
    np.testing.assert_array_equal(beside[:, :30], before)
    np.testing.assert_array_equal(beside[:, -30:], after)


def test_reading_restoring_and_writing_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_read, second_restored = threading.Event(), threading.Event()
    reads: list[Path] = []

    def read(source: Path, limit: float, develop: Develop) -> Image:
        reads.append(source)
        if len(reads) == 2:
            second_read.set()
        return read_source(source, limit, develop)

    def write(target: Path, image: Image, **options: Any) -> None:
        if target.name.startswith("0."):
            assert second_restored.wait(20), "the first was written before the second was restored"
        write_image(target, image, **options)

    class Waits(Identity):
        calls = 0

        def forward(self, x: torch.Tensor, context: GlobalStatistics | None = None) -> torch.Tensor:
            assert second_read.wait(20), "the second is not read while the first is restored"
            Waits.calls += 1
            if Waits.calls == 2:
                second_restored.set()
            return super().forward(x, context)

    monkeypatch.setattr("unveil.batch.run.read_source", read)
    monkeypatch.setattr("unveil.batch.run.write_image", write)
    assert _statuses(_run(_folder(tmp_path, 3), Restorer(Waits()))) == ["restored"] * 3


def test_what_a_killed_run_left_behind_is_cleared(tmp_path: Path) -> None:
    folder, restorer = _folder(tmp_path, 1), Restorer(Identity())
    _run(folder, restorer)
    (tmp_path / "out" / "0.restored.png").unlink()
    (tmp_path / "out" / ".0.restored-0123456789ab.part").touch()
    (tmp_path / "out" / ".0.restored-0123456789ab.raw").touch()
    assert _statuses(_run(folder, restorer)) == ["restored"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [NAME, "0.restored.png"]


_PROGRAM = """
import sys, time, torch
from pathlib import Path
from unveil.inference import Restorer
from unveil.batch.run import restore_files
from unveil.batch.jobs import plan

class Slow(torch.nn.Module):
    def forward(self, x):
        time.sleep(0.02)
        return x

folder = Path(sys.argv[1])
jobs = plan([folder], output=folder.parent / "out").jobs
for outcome in restore_files(Restorer(Slow()), jobs):
    print(outcome.status, flush=True)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 40)
    command = [sys.executable, "-c", _PROGRAM, str(folder)]
    restored, attempts = 0, 4
    for attempt in range(attempts):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            lines = [run.stdout.readline()]
            while lines[-1].startswith("skipped"):
                lines.append(run.stdout.readline())
            if attempt < attempts - 1:
                time.sleep(0.05 * attempt)
                os.kill(run.pid, signal.SIGKILL)
            statuses = [line.strip() for line in lines + run.stdout.readlines() if line.strip()]
        assert "failed" not in statuses
        restored += statuses.count("restored")
    last = statuses.count("restored")
    assert statuses == ["skipped"] * (40 - last) + ["restored"] * last
    assert 0 < last < 40
    assert restored <= 40
    assert len(list((tmp_path / "out").glob("*.png"))) == 40
    for i in range(40):
        whole = read_image(tmp_path / "out" / f"{i}.restored.png").pixels
        np.testing.assert_array_equal(whole, read_image(folder / f"{i}.png").pixels)
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix == ".part"]


@pytest.mark.parametrize(
    ("name", "left"), [("b.png", 16), ("b.jpg", 8), ("b.avif", 12), ("b.heic", 10)]
)
def test_lost_depth_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, left: int
) -> None:
    if name == "b.heic":
        pytest.importorskip("pillow_heif")
    deep = np.random.default_rng(0).integers(0, 65536, (64, 64, 3), dtype=np.uint16)
    write_image(tmp_path / "a.png", Image(deep, bits=16))
    made = plan([tmp_path / "a.png"], output=tmp_path / name)
    (outcome,) = restore_files(Restorer(Identity()), made.jobs)
    assert outcome.status == "restored"
    assert read_image(tmp_path / name).bits == left
    assert (f"16-bit samples stored with {left} bits" in caplog.text) == (left < 16)


def _png_with(path: Path, name: bytes, body: bytes) -> None:
    PIL.Image.new("RGB", (9, 8), "gray").save(path)
    content = path.read_bytes()
    chunk = struct.pack(">I", len(body)) + name + body
    chunk += struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(content[:33] + chunk + content[33:])  # after the header


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        (b"cICP", bytes([12, 13, 0, 1]), True),  # Display P3
        (b"cICP", bytes([1, 13, 0, 1]), False),  # sRGB
        (b"gAMA", struct.pack(">I", 100_000), True),
        (b"gAMA", struct.pack(">I", 45_455), False),
        (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000), True),
        (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), False),
        (b"sRGB", b"\0", False),
    ],
)
def test_colours_that_only_png_can_tell_are_not_lost_unsaid(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: bytes, body: bytes, told: bool
) -> None:
    _png_with(tmp_path / "a.png", name, body)
    for target in ("b.png", "b.jpg"):
        made = plan([tmp_path / "a.png"], output=tmp_path / target)
        (outcome,) = restore_files(Restorer(Identity()), made.jobs)
        assert outcome.status == "restored"
        assert ("look different" in caplog.text) == (told and target == "b.jpg")
    assert body in (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(("name", "told"), [("b.jpg", 0), ("b.png", 1)])
def test_a_lost_gain_map_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, told: int
) -> None:
    packet = b'<a xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/>'
    PIL.Image.new("RGB", (9, 8), "gray").save(tmp_path / "a.jpg", xmp=packet)
    PIL.Image.new("L", (5, 4)).save(tmp_path / "map.jpg")
    with (tmp_path / "a.jpg").open("ab") as file:
        file.write((tmp_path / "map.jpg").read_bytes())
    made = plan([tmp_path / "a.jpg"], output=tmp_path / name)
    (outcome,) = restore_files(Restorer(Identity()), made.jobs)
    assert outcome.status == "restored"
    assert caplog.text.count("gain map") == told
    assert (b"hdrgm:Version" in (tmp_path / name).read_bytes()) == (not told)


@pytest.mark.parametrize(("size", "told"), [(60_000, 0), (70_000, 1)])
def test_metadata_too_large_for_a_jpeg_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int, told: int
) -> None:
    packet = b"<x>" + b" " * size + b"</x>"
    pixels = np.zeros((9, 8, 3), np.uint8)
    write_image(tmp_path / "a.png", Image(pixels, metadata=Metadata(xmp=packet)))
    made = plan([tmp_path / "a.png"], output=tmp_path / "b.jpg")
    (outcome,) = restore_files(Restorer(Identity()), made.jobs)
    assert outcome.status == "restored"
    assert caplog.text.count("left out, as jpeg") == told
    assert (read_image(tmp_path / "b.jpg").metadata.xmp == packet) == (not told)


def test_two_runs_on_one_folder_share_the_work(tmp_path: Path) -> None:
    """What the other run has made since this one began is done, not in the way."""
    folder, restorer = _folder(tmp_path, 3), Restorer(Darker())
    made = plan([folder], output=tmp_path / "out")
    first = restore_files(restorer, made.jobs)
    # The first run has read its journal; meanwhile a second one does the whole folder.
    outcomes = [next(first)]
    assert set(_statuses(_run(folder, restorer))) <= {"restored", "skipped"}
    outcomes += first
    assert "failed" not in _statuses(outcomes)
    assert len(outcomes) == 3


@pytest.mark.parametrize("line", ["[" * 100_000, '{"target": 3}', '{"target": "0.restored.png"}'])
def test_a_line_of_the_journal_that_makes_no_sense_fails_no_file(tmp_path: Path, line: str) -> None:
    folder, restorer = _folder(tmp_path, 1), Restorer(Darker())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NAME).write_text(line + "\n")
    assert _statuses(_run(folder, restorer)) == ["restored"]
    assert _statuses(_run(folder, restorer)) == ["skipped"]


def test_a_pipe_in_place_of_the_journal_is_told(tmp_path: Path) -> None:
    folder, restorer = _folder(tmp_path, 1), Restorer(Darker())
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / NAME)
    (outcome,) = _run(folder, restorer)
    assert (outcome.status, "a pipe or a device" in outcome.reason) == ("failed", True)
