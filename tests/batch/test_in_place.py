"""Photos that are restored in place: nothing is lost, whatever happens in between."""

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.inference.conftest import Darker

from unveil.batch import in_place
from unveil.batch.jobs import plan
from unveil.batch.run import Outcome, Saving, restore_files
from unveil.errors import InputError
from unveil.imaging import read_image
from unveil.inference.naming import Naming
from unveil.inference.restorer import Restorer


def _photo(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(60, 255, (20, 30, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


def _run(inputs: list[Path], **options: Any) -> list[Outcome]:
    made = plan(inputs, in_place=True)
    failed = [Outcome(path, path, "failed", str(error)) for path, error in made.failed]
    return list(restore_files(Restorer(Darker()), made.jobs, Saving(**options))) + failed


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_the_result_takes_the_name_and_the_original_stays(tmp_path: Path) -> None:
    photo = _photo(tmp_path / "a.png")
    photo.chmod(0o640)
    before = photo.read_bytes()
    (outcome,) = _run([photo])
    assert (outcome.status, outcome.target) == ("restored", photo)
    assert _names(tmp_path) == ["a.original.png", "a.png"]
    assert (tmp_path / "a.original.png").read_bytes() == before
    assert read_image(photo).pixels.mean() < read_image(tmp_path / "a.original.png").pixels.mean()
    assert stat.S_IMODE(photo.stat().st_mode) == 0o640
    assert photo.stat().st_mtime > 1_700_000_000


def test_a_second_run_restores_only_what_is_new(tmp_path: Path) -> None:
    for i in range(2):
        _photo(tmp_path / f"{i}.png", i)
    assert [one.status for one in _run([tmp_path])] == ["restored"] * 2
    results = {name: (tmp_path / name).read_bytes() for name in _names(tmp_path)}
    _photo(tmp_path / "2.png", 2)
    assert [one.status for one in _run([tmp_path])] == ["skipped", "skipped", "restored"]
    assert {name: (tmp_path / name).read_bytes() for name in results} == results
    assert [one.status for one in _run([tmp_path])] == ["skipped"] * 3
    # Other runs take neither results nor originals for new photos.
    _photo(tmp_path / "3.png", 3)
    assert [job.source.name for job in plan([tmp_path]).jobs] == ["3.png"]


def test_force_restores_the_original_again(tmp_path: Path) -> None:
    photo = _photo(tmp_path / "a.png")
    _run([photo])
    once, original = photo.read_bytes(), (tmp_path / "a.original.png").read_bytes()
    (outcome,) = _run([photo], force=True)
    assert outcome.status == "restored"
    assert photo.read_bytes() == once
    assert (tmp_path / "a.original.png").read_bytes() == original


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_is_no_backup_of_ours_is_never_touched(force: bool, tmp_path: Path) -> None:
    photo, other = _photo(tmp_path / "a.png"), _photo(tmp_path / "a.original.png", 1)
    before = photo.read_bytes(), other.read_bytes()
    (outcome,) = _run([photo], force=force)
    assert outcome.status == "failed"
    assert "move it away" in outcome.reason
    assert (photo.read_bytes(), other.read_bytes()) == before


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("point", ["set aside", "replaced"])
def test_a_run_that_is_killed_loses_nothing_and_goes_on(
    links: bool, point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = _photo(tmp_path / "a.png")
    before = photo.read_bytes()
    if not links:

        def refuse(*_: object) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(in_place.os, "link", refuse)
    with monkeypatch.context() as patch:
        name = "write_image" if point == "set aside" else "shutil.copymode"

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(f"unveil.batch.run.{name}", killed)
        with pytest.raises(KeyboardInterrupt):
            _run([photo])
    assert (tmp_path / "a.original.png").read_bytes() == before
    (outcome,) = _run([photo])
    assert outcome.status == ("restored" if point == "set aside" else "skipped")
    assert (tmp_path / "a.original.png").read_bytes() == before
    assert photo.read_bytes() != before
    assert _names(tmp_path) == ["a.original.png", "a.png"]


def test_a_damaged_file_is_left_alone(tmp_path: Path) -> None:
    photo = _photo(tmp_path / "a.png")
    photo.write_bytes(photo.read_bytes()[:200])
    (outcome,) = _run([photo])
    assert outcome.status == "failed"
    assert _names(tmp_path) == ["a.png"]


def test_links_and_raw_files_are_refused(tmp_path: Path) -> None:
    photo = _photo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(photo)
    (tmp_path / "c.nef").write_bytes(b"II*\0")
    reasons = [one.reason for one in _run([tmp_path / "b.png", tmp_path / "c.nef"])]
    assert "a link" in reasons[0]
    assert "read, not written" in reasons[1]
    assert (tmp_path / "b.png").is_symlink()


def test_other_names_contradict_it(tmp_path: Path) -> None:
    photo = _photo(tmp_path / "a.png")
    for options in ({"output": tmp_path / "out"}, {"naming": Naming("{stem}-b{ext}")}):
        with pytest.raises(InputError, match="in place"):
            plan([photo], in_place=True, **options)


@pytest.mark.parametrize("replaced", [True, False])
def test_dates_are_kept_on_request(replaced: bool, tmp_path: Path) -> None:
    _photo(tmp_path / "a.png")
    made = plan([tmp_path], in_place=replaced)
    for _ in range(2):  # the journal notes the date, too
        outcomes = list(restore_files(Restorer(Darker()), made.jobs, Saving(keep_date=True)))
    assert outcomes[0].status == "skipped"
    assert outcomes[0].target.stat().st_mtime == 1_000_000_000
