"""A whole training: resumed exactly, stopped cleanly, refused early."""

import json
import logging
import os
import shutil
import signal

import pytest
import torch

from unveil import create_model
from unveil.data import TrainingSet
from unveil.errors import CheckpointError, OutputError, RecipeError, TrainingError
from unveil.models.checkpoint import from_pretrained, save_pretrained
from unveil.training import session
from unveil.training.checkpoints import TrainingState, load_state, save_state
from unveil.training.devices import Devices
from unveil.training.dry_run import dry_run
from unveil.training.resume import stored_recipe
from unveil.training.run import train

CPU = Devices(accelerator="cpu")


def assert_same(one, other, where=""):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}.{i}")
    else:
        assert one == other, where


def assert_same_state(one: TrainingState, other: TrainingState) -> None:
    for part in ("step", "plan", "network", "average", "optimizer", "best"):
        assert_same(getattr(one, part), getattr(other, part), part)


def signal_when_loading(monkeypatch, step: int, number: signal.Signals) -> None:
    """Send this process a signal while a step's first sample is made."""
    original = TrainingSet.sample

    def sample(self, at, index, *rest):
        if at == step and index == 0:
            os.kill(os.getpid(), number)
        return original(self, at, index, *rest)

    monkeypatch.setattr(TrainingSet, "sample", sample)


@pytest.fixture
def uninterrupted(toy_recipe, tmp_path):
    folder = tmp_path / "whole"
    outcome = train(toy_recipe(), folder, devices=CPU)
    assert outcome.finished
    return load_state(folder / "checkpoints")


# Step 2 lies in the first phase, 3 on the border, 5 after a validation in the second.
@pytest.mark.parametrize("step", [2, 3, 5])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    step, toy_recipe, tmp_path, monkeypatch, uninterrupted
):
    with monkeypatch.context() as patched:
        signal_when_loading(patched, step - 1, signal.SIGTERM)
        outcome = train(toy_recipe(), tmp_path / "run", devices=CPU)
    assert (outcome.step, outcome.finished, outcome.signal) == (step, False, "SIGTERM")
    torch.manual_seed(12345)  # whatever the process drew before must not matter
    outcome = train(toy_recipe(), tmp_path / "run", resume=True, devices=CPU)
    assert outcome.finished
    assert_same_state(load_state(tmp_path / "run" / "checkpoints"), uninterrupted)


def test_muon_resumes_bit_for_bit(toy_recipe, tmp_path, monkeypatch):
    recipe = toy_recipe(optim={"name": "muon", "weight_decay": 0.01})
    train(recipe, tmp_path / "whole", devices=CPU)
    with monkeypatch.context() as patched:
        signal_when_loading(patched, 2, signal.SIGTERM)
        assert not train(recipe, tmp_path / "run", devices=CPU).finished
    train(recipe, tmp_path / "run", resume=True, devices=CPU)
    assert_same_state(
        load_state(tmp_path / "run" / "checkpoints"), load_state(tmp_path / "whole" / "checkpoints")
    )


def test_a_finished_run_resumes_to_itself(toy_recipe, tmp_path):
    train(toy_recipe(schedule={"steps": 2}), tmp_path, devices=CPU)
    before = load_state(tmp_path / "checkpoints")
    outcome = train(toy_recipe(schedule={"steps": 2}), tmp_path, resume=True, devices=CPU)
    assert outcome.finished
    assert_same_state(load_state(tmp_path / "checkpoints"), before)


def test_the_signals_handlers_are_given_back(toy_recipe, tmp_path):
    former = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    train(toy_recipe(schedule={"steps": 1}), tmp_path, devices=CPU)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == former


def test_training_lowers_the_loss_and_raises_psnr(toy_recipe, tmp_path):
    recipe = toy_recipe(
        schedule={"steps": 60, "phases": [{"until": 1.0, "patch": 32, "batch": 4}]},
        optim={"lr": 3e-3, "ema": 0.9},
        evaluation={"every_steps": 60},
    )
    outcome = train(recipe, tmp_path, devices=CPU)
    rows = (tmp_path / "validation.csv").read_text().splitlines()
    start = float(rows[1].split(",")[1])
    assert outcome.psnr is not None
    assert outcome.psnr > start + 1.0


def test_a_task_s_loss_is_multiplied_in_the_run_and_in_its_dry_run(toy_recipe, tmp_path):
    phase = {"until": 1.0, "patch": 16, "batch": 4}
    half, quarter = {"noise": 0.5}, {"noise": 0.25}
    losses = []
    for optim, own in (({}, {}), (half, {}), (half, {"task_loss": quarter})):
        recipe = toy_recipe(
            optim={"task_loss": optim},
            schedule={"steps": 1, "phases": [phase | own]},
        )
        train(recipe, tmp_path, force=True, devices=CPU)
        row = (tmp_path / "train.csv").read_text().splitlines()[1]
        losses.append((float(row.split(",")[1]), dry_run(recipe).losses[0]))
    for factor, both in zip((1, 0.5, 0.25), losses, strict=True):
        assert both == pytest.approx([factor * one for one in losses[0]], rel=1e-4)


def test_a_run_leaves_weights_logs_and_pictures(toy_recipe, tmp_path):
    outcome = train(toy_recipe(), tmp_path, devices=CPU)
    state = load_state(tmp_path / "checkpoints")
    exported = from_pretrained(tmp_path)
    assert_same(dict(exported.state_dict()), state.average)
    assert outcome.psnr is not None
    assert outcome.best["psnr"] >= outcome.psnr
    assert (tmp_path / "best" / "model.safetensors").exists()
    assert [p.name for p in sorted((tmp_path / "pictures").iterdir())] == [
        "step_0000004.png",
        "step_0000006.png",
    ]
    assert len((tmp_path / "train.csv").read_text().splitlines()) == 7
    assert list((tmp_path / "tensorboard").iterdir())


def test_exported_weights_hold_no_path_of_this_machine(toy_recipe, tmp_path, photos):
    train(toy_recipe(schedule={"steps": 1}), tmp_path, devices=CPU)
    assert str(photos).encode() not in (tmp_path / "model.safetensors").read_bytes()


def test_logs_of_a_resumed_run_have_every_step_once(toy_recipe, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        signal_when_loading(patched, 3, signal.SIGTERM)
        train(toy_recipe(), tmp_path, devices=CPU)
    train(toy_recipe(), tmp_path, resume=True, devices=CPU)
    rows = (tmp_path / "train.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == [1, 2, 3, 4, 5, 6]


def test_a_duration_becomes_steps_that_are_kept_when_resuming(toy_recipe, tmp_path, monkeypatch):
    recipe = toy_recipe(schedule={"steps": None, "duration": "3s"})
    with monkeypatch.context() as patched:
        signal_when_loading(patched, 1, signal.SIGTERM)
        first = train(recipe, tmp_path, devices=CPU)
    plan = load_state(tmp_path / "checkpoints").plan
    second = train(recipe, tmp_path, resume=True, devices=CPU)
    assert second.steps == first.steps == plan["steps"] > 2
    assert len(plan["step_seconds"]) == 2


def test_micro_batches_train_to_the_same_weights(toy_recipe, tmp_path):
    train(toy_recipe(), tmp_path / "whole", devices=CPU)
    train(toy_recipe(optim={"micro_batch": 3}), tmp_path / "parts", devices=CPU)
    whole = load_state(tmp_path / "whole" / "checkpoints").average
    parts = load_state(tmp_path / "parts" / "checkpoints").average
    for name, value in whole.items():
        # Sums in another order; AdamW turns a rounding of a tiny gradient into a visible step.
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=2e-5, msg=name)


def test_a_non_finite_loss_stops_and_names_the_files(toy_recipe, tmp_path, monkeypatch):
    original = TrainingSet.sample

    def poisoned(self, step, *rest):
        sample = original(self, step, *rest)
        if step == 4:
            sample["clean"][0, 0, 0] = float("nan")
        return sample

    monkeypatch.setattr(TrainingSet, "sample", poisoned)
    with pytest.raises(TrainingError, match="step 4"):
        train(toy_recipe(), tmp_path, devices=CPU)
    content = json.loads((tmp_path / "nonfinite.json").read_text())
    assert content["step"] == 4
    assert len(content["files"]) == 2
    state = load_state(tmp_path / "checkpoints")
    assert state.step == 4
    assert all(value.isfinite().all() for value in state.network.values())


def test_a_run_is_not_overwritten_unasked(toy_recipe, tmp_path):
    recipe = toy_recipe(schedule={"steps": 1})
    train(recipe, tmp_path, devices=CPU)
    with pytest.raises(OutputError, match="--resume"):
        train(recipe, tmp_path, devices=CPU)
    assert train(recipe, tmp_path, force=True, devices=CPU).finished


def test_resuming_with_another_recipe_is_refused(toy_recipe, tmp_path):
    train(toy_recipe(schedule={"steps": 1}), tmp_path, devices=CPU)
    with pytest.raises(RecipeError, match=r"optim\.lr = 0\.5"):
        train(
            toy_recipe(schedule={"steps": 1}, optim={"lr": 0.5}), tmp_path, resume=True, devices=CPU
        )


def test_a_run_keeps_its_network_when_a_variants_defaults_change(toy_recipe, tmp_path):
    train(toy_recipe(schedule={"steps": 1}), tmp_path, devices=CPU)
    stored = stored_recipe(load_state(tmp_path / "checkpoints"))
    assert stored.model.options == create_model("cu_mamba_tiny").config.model_dump(mode="json")


def test_a_checkpoint_of_another_network_is_refused(toy_recipe, tmp_path):
    train(toy_recipe(schedule={"steps": 1}), tmp_path, devices=CPU)
    state = load_state(tmp_path / "checkpoints")
    state.network.pop(next(iter(state.network)))
    save_state(state, tmp_path / "checkpoints")
    with pytest.raises(CheckpointError, match="another cu_mamba_tiny"):
        train(toy_recipe(schedule={"steps": 1}), tmp_path, resume=True, devices=CPU)


def test_resuming_may_change_how_the_run_is_watched(toy_recipe, tmp_path):
    train(toy_recipe(schedule={"steps": 1}), tmp_path, devices=CPU)
    recipe = toy_recipe(schedule={"steps": 1}, evaluation={"images": 1})
    assert train(recipe, tmp_path, resume=True, devices=CPU).finished


def test_resuming_nothing_is_an_error(toy_recipe, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        train(toy_recipe(), tmp_path, resume=True, devices=CPU)


def test_a_patch_the_network_cannot_take_is_refused(toy_recipe, tmp_path):
    recipe = toy_recipe(schedule={"phases": [{"until": 1.0, "patch": 18, "batch": 1}]})
    with pytest.raises(RecipeError, match="multiples of 4"):
        train(recipe, tmp_path, devices=CPU)


def test_a_run_starts_from_given_weights(toy_recipe, tmp_path):
    train(toy_recipe(schedule={"steps": 3}), tmp_path / "a", devices=CPU)
    recipe = toy_recipe(
        model={"weights": str(tmp_path / "a")},
        schedule={"steps": 1, "warmup": 0.0},
        optim={"lr": 1e-12, "weight_decay": 0.0},
    )
    train(recipe, tmp_path / "b", devices=CPU)
    start = from_pretrained(tmp_path / "a").state_dict()
    for name, value in load_state(tmp_path / "b" / "checkpoints").network.items():
        torch.testing.assert_close(value, start[name], rtol=0, atol=1e-10, msg=name)


def test_a_run_resumes_without_the_weights_it_began_with(toy_recipe, tmp_path):
    save_pretrained(create_model("cu_mamba_tiny", spatial_ssm=False), tmp_path / "start")
    recipe = toy_recipe(model={"weights": str(tmp_path / "start")}, schedule={"steps": 1})
    train(recipe, tmp_path / "run", devices=CPU)
    shutil.rmtree(tmp_path / "start")
    assert train(recipe, tmp_path / "run", resume=True, devices=CPU).finished


def test_the_best_of_another_validation_does_not_count(toy_recipe, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        signal_when_loading(patch, 3, signal.SIGTERM)
        train(toy_recipe(), tmp_path, devices=CPU)
    state = load_state(tmp_path / "checkpoints")
    state.best = {"step": 1, "psnr": 99.0}
    state.photographs = "others"
    save_state(state, tmp_path / "checkpoints")
    harder = {"degradations": ["noise:sigma_255=50"], "every_steps": 4}
    train(toy_recipe(evaluation=harder), tmp_path, resume=True, devices=CPU)
    assert load_state(tmp_path / "checkpoints").best["psnr"] < 99
    assert (tmp_path / "best" / "model.safetensors").is_file()
    assert "photographs have changed" in caplog.text
    columns = (tmp_path / "validation.csv").read_text().splitlines()[0].split(",")
    assert {"noise:sigma_255=25", "noise:sigma_255=50"} <= set(columns)


def test_a_run_takes_the_outline_of_given_weights(toy_recipe, tmp_path):
    network = create_model("cu_mamba_tiny", spatial_ssm=False)
    save_pretrained(network, tmp_path / "start")
    recipe = toy_recipe(model={"weights": str(tmp_path / "start")}, schedule={"steps": 1})
    train(recipe, tmp_path / "run", devices=CPU)
    assert from_pretrained(tmp_path / "run").config == network.config


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"options": {"spatial_ssm": False}}, r"does not fit cu_mamba_tiny: .* is unknown and"),
        ({"id": "mtair_tiny"}, "holds cu_mamba_tiny, not mtair_tiny"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_a_line(toy_recipe, tmp_path, model, message):
    save_pretrained(create_model("cu_mamba_tiny"), tmp_path / "start")
    recipe = toy_recipe(model=model | {"weights": str(tmp_path / "start")})
    with pytest.raises(CheckpointError, match=message) as error:
        train(recipe, tmp_path / "run", devices=CPU)
    assert "\n" not in str(error.value)


def test_reduced_precision_trains_without_banners(toy_recipe, tmp_path, capfd, monkeypatch):
    # Earlier tests of the command may have left handlers that print our own log.
    monkeypatch.setattr(logging.getLogger("unveil"), "handlers", [])
    assert train(toy_recipe(optim={"precision": "bf16"}), tmp_path, devices=CPU).finished
    assert capfd.readouterr() == ("", "")


def test_half_precision_on_a_processor_is_refused(toy_recipe, tmp_path):
    with pytest.raises(RecipeError, match="needs a GPU"):
        train(toy_recipe(optim={"precision": "fp16"}), tmp_path, devices=CPU)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_trains_and_resumes(toy_recipe, tmp_path, monkeypatch, precision):
    recipe = toy_recipe(optim={"precision": precision})
    with monkeypatch.context() as patched:
        signal_when_loading(patched, 2, signal.SIGTERM)
        train(recipe, tmp_path, devices=Devices("gpu"))
    assert train(recipe, tmp_path, resume=True, devices=Devices("gpu")).finished


def test_a_run_killed_before_its_first_checkpoint_just_starts_again(toy_recipe, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".last.pt.part").write_bytes(b"torn")
    # A run marks its folder before the first step; without the mark the files could be anybody's.
    (tmp_path / "checkpoints" / ".run").touch()
    (tmp_path / "recipe.yaml").write_text("seed: 0\n")
    assert train(toy_recipe(schedule={"steps": 1}), tmp_path, devices=CPU).finished


def test_full_disk_is_an_error_before_training(toy_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(OutputError, match="MB free"):
        train(toy_recipe(), tmp_path, devices=CPU)


class Usage:
    free = 1000


def test_a_folder_that_cannot_be_made_is_an_error(toy_recipe, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        train(toy_recipe(), tmp_path / "file" / "run", devices=CPU)


def test_a_signal_while_the_speed_is_measured_leaves_a_checkpoint(
    toy_recipe, tmp_path, monkeypatch
):
    def measure(*words, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*words, **options)

    original = session.measure_phases
    recipe = toy_recipe(schedule={"steps": None, "duration": "3s"})
    with monkeypatch.context() as patched:
        patched.setattr(session, "measure_phases", measure)
        outcome = train(recipe, tmp_path, devices=CPU)
    assert (outcome.step, outcome.signal) == (1, "SIGTERM")
    assert load_state(tmp_path / "checkpoints").step == 1


def test_weights_that_training_ruins_are_not_the_best(toy_recipe, tmp_path):
    train(toy_recipe(), tmp_path / "first", devices=CPU)
    recipe = toy_recipe(
        model={"weights": str(tmp_path / "first")},
        optim={"lr": 0.05, "ema": 0.0, "loss": "l1"},
        schedule={"warmup": 0.0},
    )
    outcome = train(recipe, tmp_path / "second", devices=CPU)
    assert outcome.best["step"] == 0
    assert "the weights it began with" in outcome.describe(tmp_path)
    first = from_pretrained(tmp_path / "first").state_dict()
    assert_same(dict(from_pretrained(tmp_path / "second" / "best").state_dict()), dict(first))
