"""A run's folder: nothing foreign is ever deleted."""

from pathlib import Path

import pytest

from unveil.errors import OutputError
from unveil.training.run_directory import (
    RECIPE,
    check_directory,
    check_outside,
    prepare_directory,
)


def _run_in(out: Path) -> None:
    check_directory(out, resume=False, force=False)
    prepare_directory(out)
    (out / RECIPE).write_text("seed: 0\n")
    (out / "checkpoints" / "last.pt").write_bytes(b"x")
    (out / "model.safetensors").write_bytes(b"x")


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_somebodys_pictures_is_refused_and_kept(tmp_path: Path, force: bool) -> None:
    photo = tmp_path / "pictures" / "holiday.png"
    photo.parent.mkdir()
    photo.write_bytes(b"x")
    with pytest.raises(OutputError, match=r"holiday\.png is not of a training"):
        check_directory(tmp_path, resume=False, force=force)
    assert photo.exists()


def test_a_run_is_deleted_only_by_force(tmp_path: Path) -> None:
    _run_in(tmp_path)
    with pytest.raises(OutputError, match="holds a training already"):
        check_directory(tmp_path, resume=False, force=False)
    check_directory(tmp_path, resume=False, force=True)
    prepare_directory(tmp_path, keep=True)
    assert (tmp_path / "checkpoints" / "last.pt").exists()
    prepare_directory(tmp_path)
    assert not (tmp_path / "checkpoints" / "last.pt").exists()
    assert not (tmp_path / "model.safetensors").exists()


def test_other_files_survive_a_new_run(tmp_path: Path) -> None:
    _run_in(tmp_path)
    notes = tmp_path / "notes.txt"
    notes.write_text("keep me")
    check_directory(tmp_path, resume=False, force=True)
    prepare_directory(tmp_path)
    assert notes.read_text() == "keep me"


def test_a_look_at_a_folder_makes_nothing(tmp_path: Path) -> None:
    check_directory(tmp_path / "runs" / "new", resume=False, force=False)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write into"):
        check_directory(tmp_path / "file" / "new", resume=False, force=False)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "name", ["recipe.yaml", "model.safetensors", "pictures/a.png", "best/notes.txt", "train.csv"]
)
def test_a_folder_that_no_run_made_is_left_alone(tmp_path: Path, name: str, force: bool) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    (tmp_path / "recipe.yaml").write_text("mine")
    with pytest.raises(OutputError, match="is not of a training"):
        check_directory(tmp_path, resume=False, force=force)


def test_what_somebody_put_beside_results_is_never_deleted(tmp_path: Path) -> None:
    _run_in(tmp_path)
    (tmp_path / "best" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt is not of a training"):
        check_directory(tmp_path, resume=False, force=True)


def test_a_run_that_failed_before_its_first_step_is_begun_anew(tmp_path: Path) -> None:
    check_directory(tmp_path, resume=False, force=False)
    prepare_directory(tmp_path)
    (tmp_path / RECIPE).write_text("seed: 0\n")
    (tmp_path / "nonfinite.json").write_text("[]")
    check_directory(tmp_path, resume=False, force=False)
    prepare_directory(tmp_path)
    assert not (tmp_path / "nonfinite.json").exists()


def test_a_run_inside_its_photographs_is_refused(tmp_path: Path) -> None:
    check_outside(tmp_path / "run", [tmp_path / "photos"])
    with pytest.raises(OutputError, match="whose images it takes"):
        check_outside(tmp_path / "photos" / "run", [tmp_path / "photos"])


def test_checkpoints_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch_1.pt").write_bytes(b"x")
    with pytest.raises(OutputError, match=r"epoch_1\.pt is not of a training"):
        check_directory(tmp_path, resume=False, force=True)


def test_a_stray_file_does_not_keep_a_run_from_going_on(tmp_path: Path) -> None:
    _run_in(tmp_path)
    (tmp_path / "best" / "README.md").write_text("mine")
    (tmp_path / "pictures" / ".DS_Store").write_text("")
    check_directory(tmp_path, resume=True, force=False)
