"""The command itself: killed at any moment, and several processes that equal one."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from unveil.training.checkpoints import load_state
from unveil.training.recipe_file import dump_recipe

pytestmark = pytest.mark.slow
STEPS = 40
SCHEDULE = {
    "steps": STEPS,
    "save_every": "0.01s",
    "phases": [
        {"until": 0.5, "patch": 16, "batch": 4},
        {"until": 1.0, "patch": 24, "batch": 2, "loss": "psnr"},
    ],
}


STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def _leave_nothing_running():
    yield
    for process in STARTED:
        if process.poll() is None:
            process.kill()
        for stream in (process.stdout, process.stderr):
            stream.close()
        process.wait()
    STARTED.clear()


def start(recipe, out, *options):
    command = [sys.executable, "-m", "unveil", "train", str(recipe), f"out={out}", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    pipe = subprocess.PIPE
    STARTED.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
    return STARTED[-1]


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def recipe(toy_recipe, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(toy_recipe(schedule=SCHEDULE)))
    return path


def test_killed_again_and_again_a_run_ends_as_if_it_never_was(recipe, tmp_path):
    """SIGKILL at moments spread over the steps, many of them within the writing of a checkpoint."""
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    for kills, wait in enumerate((0.0, 0.013, 0.047)):
        process = start(recipe, tmp_path / "run", *(["--resume"] if kills else []))
        before = load_state(last.parent).step if kills else -1
        deadline = time.monotonic() + 400
        while process.poll() is None and time.monotonic() < deadline:
            if last.exists() and load_state(last.parent).step > before + 5:
                break
            time.sleep(0.01)
        time.sleep(wait)
        assert process.poll() is None, "the run ended before it was killed: more steps are needed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert load_state(last.parent).step > before
    finish(start(recipe, tmp_path / "run", "--resume"))
    finish(start(recipe, tmp_path / "whole"))
    ours, whole = load_state(last.parent), load_state(tmp_path / "whole" / "checkpoints")
    assert ours.step == whole.step == STEPS
    for part in ("network", "average"):
        for name, value in getattr(whole, part).items():
            assert torch.equal(getattr(ours, part)[name], value), name


def test_a_polite_stop_exits_143_and_says_how_to_go_on(recipe, tmp_path):
    process = start(recipe, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "previous.pt"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    assert "--resume" in out


def test_two_processes_equal_one_with_the_same_batch(recipe, tmp_path):
    one = start(recipe, tmp_path / "one", "steps=6", "--accelerator", "cpu")
    finish(one)
    finish(start(recipe, tmp_path / "two", "steps=6", "--accelerator", "cpu", "--devices", "2"))
    single = load_state(tmp_path / "one" / "checkpoints")
    double = load_state(tmp_path / "two" / "checkpoints")
    assert double.step == 6
    for name, value in single.network.items():
        # Gradients are summed in another order, and AdamW scales small ones up.
        torch.testing.assert_close(double.network[name], value, rtol=1e-3, atol=5e-5, msg=name)


def test_two_processes_with_micro_batches_equal_one(recipe, tmp_path):
    finish(start(recipe, tmp_path / "one", "steps=4"))
    finish(start(recipe, tmp_path / "two", "steps=4", "optim.micro_batch=1", "--devices", "2"))
    single = load_state(tmp_path / "one" / "checkpoints")
    double = load_state(tmp_path / "two" / "checkpoints")
    for name, value in single.network.items():
        torch.testing.assert_close(double.network[name], value, rtol=1e-3, atol=5e-5, msg=name)


def test_two_processes_agree_on_the_steps_of_a_duration(recipe, tmp_path):
    words = ("schedule.steps=null", "schedule.duration=5s", "schedule.save_every=1m")
    finish(start(recipe, tmp_path / "two", *words, "--accelerator", "cpu", "--devices", "2"))
    state = load_state(tmp_path / "two" / "checkpoints")
    assert 1 < state.step == state.plan["steps"]
    assert all(seconds > 0 for seconds in state.plan["step_seconds"])


def test_a_batch_that_two_processes_cannot_share_is_refused(recipe, tmp_path):
    process = start(recipe, tmp_path / "run", "schedule.phases.0.batch=3", "--devices", "2")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "2 processes cannot share equally" in err
