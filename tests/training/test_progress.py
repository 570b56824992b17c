"""Progress says what a person wants to know, and the time left depends on the phases."""

import io

import pytest
from rich.console import Console

from unveil.training.calibration import TrainingPlan
from unveil.training.devices import Devices
from unveil.training.progress import progress_line, seconds_left
from unveil.training.recipe import Phase
from unveil.training.run import train

PHASES = [Phase(until=0.5, patch=8, batch=4), Phase(until=1.0, patch=16, batch=4)]


def test_time_left_scales_with_the_measured_phases():
    plan = TrainingPlan(100, (4, 4), (1.0, 3.0))
    # this machine is twice as slow as when it was measured
    assert seconds_left(plan, PHASES, 10, 2.0) == pytest.approx(40 * 2 + 50 * 6)
    assert seconds_left(plan, PHASES, 80, 6.0) == pytest.approx(20 * 6)
    assert seconds_left(plan, PHASES, 100, 6.0) == 0.0


def test_without_measurement_time_left_scales_with_the_pixels():
    assert seconds_left(TrainingPlan(100, (4, 4)), PHASES, 50, 1.0) == pytest.approx(50 * 4)


def test_a_line_has_loss_speed_time_and_memory():
    row = {"loss": 0.03125, "images_per_second": 61.7, "patch": 64, "memory_mb": 812.4}
    line = progress_line(row, 3700.0, {"psnr": 31.257, "step": 400})
    assert line == (
        "loss 0.03125 · 61.7 images/s of 64² · 1h01m left · 812 MB · best 31.26 dB at 400"
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_shows_its_progress(toy_recipe, tmp_path, terminal):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=120)
    recipe = toy_recipe(schedule={"steps": 2, "warmup": 0.0})
    train(recipe, tmp_path, devices=Devices("cpu"), console=console)
    assert "2/2" in shown.getvalue()
    assert "images/s" in shown.getvalue()
