"""Checkpoints are whole or not there, and run no code when loaded."""

import os
import pickle
from dataclasses import fields

import pytest
import torch

from unveil.errors import CheckpointError, OutputError
from unveil.training.checkpoints import FORMAT, TrainingState, load_state, read_state, save_state


def state(step: int) -> TrainingState:
    return TrainingState(
        step=step,
        recipe="seed: 0",
        plan={"steps": 9, "micro_batch": [1]},
        network={"w": torch.full((3,), float(step))},
        average={"w": torch.zeros(3)},
        optimizer={"state": {0: {"step": torch.tensor(float(step))}}, "param_groups": []},
        best={"step": 1, "psnr": 30.5},
    )


def test_a_state_reads_back_as_written(tmp_path):
    save_state(state(4), tmp_path)
    back = load_state(tmp_path)
    for part in fields(TrainingState):
        if part.name not in ("network", "average", "optimizer"):
            assert getattr(back, part.name) == getattr(state(4), part.name)
    assert torch.equal(back.network["w"], torch.full((3,), 4.0))


def test_the_former_checkpoint_is_kept(tmp_path):
    for step in (1, 2, 3):
        save_state(state(step), tmp_path)
    assert read_state(tmp_path / "last.pt").step == 3
    assert read_state(tmp_path / "previous.pt").step == 2
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "previous.pt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_at_any_point_leaves_a_whole_checkpoint(tmp_path, monkeypatch, call):
    save_state(state(1), tmp_path)
    save_state(state(2), tmp_path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    if call == "replace":
        monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OutputError, match="is full"):
        save_state(state(3), tmp_path)
    monkeypatch.undo()
    assert load_state(tmp_path).step == 2
    assert not list(tmp_path.glob(".*"))


def test_between_the_two_renames_the_former_one_is_found(tmp_path):
    save_state(state(1), tmp_path)
    (tmp_path / "last.pt").rename(tmp_path / "previous.pt")
    (tmp_path / ".last.pt.part").write_bytes(b"half a file")
    assert load_state(tmp_path).step == 1


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_torn_last_checkpoint_falls_back_to_the_one_before(tmp_path, keep):
    save_state(state(1), tmp_path)
    save_state(state(2), tmp_path)
    whole = (tmp_path / "last.pt").read_bytes()
    cut = keep if isinstance(keep, int) else int(len(whole) * keep)
    (tmp_path / "last.pt").write_bytes(whole[:cut])
    assert load_state(tmp_path).step == 1


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"format": FORMAT, "network": Evil()}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError):
        load_state(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_plain_pickle_is_refused(tmp_path):
    (tmp_path / "last.pt").write_bytes(pickle.dumps({"format": 1, "network": {}}))
    with pytest.raises(CheckpointError):
        load_state(tmp_path)


def test_a_foreign_or_later_file_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="not a training checkpoint"):
        load_state(tmp_path)
    torch.save({"format": FORMAT, "network": {}}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        load_state(tmp_path)
    torch.save({"format": FORMAT + 1, "network": {}}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="update unveil"):
        load_state(tmp_path)


def test_fields_of_later_versions_have_defaults(tmp_path):
    content = {
        part.name: getattr(state(5), part.name)
        for part in fields(TrainingState)
        if part.name not in ("precision", "best", "seconds")
    }
    torch.save(content, tmp_path / "last.pt")
    assert load_state(tmp_path).best == {}
