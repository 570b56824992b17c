"""Steps come from measured time, micro-batches from a memory limit."""

import pytest
import torch

from unveil import create_model
from unveil.errors import RecipeError
from unveil.training.calibration import (
    TrainingPlan,
    mean_step_seconds,
    measure_phases,
    steps_within,
)
from unveil.training.devices import Devices
from unveil.training.micro_batch import micro_batches
from unveil.training.session import check_recipe


def timed(toy_recipe, **evaluation):
    return toy_recipe(
        schedule={"steps": None, "duration": "1h"}, evaluation={"every_steps": None, **evaluation}
    )


def test_steps_fill_the_duration_phase_by_phase(toy_recipe):
    recipe = timed(toy_recipe, every="1h")
    # half the steps take 1 s, half 3 s; no time for validations
    assert steps_within(recipe, (1.0, 3.0), 0.0) == 1800
    assert mean_step_seconds(recipe, (1.0, 3.0)) == 2.0


def test_validations_take_their_share_of_the_duration(toy_recipe):
    assert steps_within(timed(toy_recipe, every="10m"), (2.0, 2.0), 200.0) == 1350
    assert steps_within(timed(toy_recipe, every_steps=100), (2.0, 2.0), 100.0) == 1200


def test_a_duration_below_one_step_is_an_error(toy_recipe):
    with pytest.raises(RecipeError, match="too short"):
        steps_within(timed(toy_recipe, every="1h"), (4000.0, 4000.0), 0.0)


def test_measuring_leaves_the_network_as_it_was(toy_recipe):
    network = create_model("cu_mamba_tiny")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    speeds = measure_phases(
        toy_recipe(),
        network,
        Devices("cpu").fabric("fp32"),
        (4, 2),
        processes=1,
        load_seconds=lambda phase: float(phase.batch),
    )
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    # loading a sample takes a second each here: 4 and 2 per step, beside the step itself
    assert 4.0 < speeds[0] < 6.0
    assert 2.0 < speeds[1] < 4.0


def test_without_a_limit_passes_are_whole(toy_recipe):
    network = create_model("cu_mamba_tiny")
    assert micro_batches(toy_recipe(), network, 1) == (4, 2)
    assert micro_batches(toy_recipe(), network, 2) == (2, 1)
    assert micro_batches(toy_recipe(optim={"micro_batch": 3}), network, 1) == (3, 2)


def test_a_memory_limit_splits_batches_into_equal_parts(toy_recipe, monkeypatch):
    monkeypatch.setattr("unveil.training.micro_batch.memory_in_use", lambda _: 0)
    monkeypatch.setattr("unveil.training.micro_batch.saved_bytes", lambda *_: 1_000_000)
    network = torch.nn.Linear(1, 1)
    phases = [{"until": 1.0, "patch": 16, "batch": 10}]
    chosen = [
        micro_batches(
            toy_recipe(optim={"memory": f"{megabytes}MB"}, schedule={"phases": phases}), network, 1
        )[0]
        for megabytes in (2, 4, 10, 13, 17, 100)
    ]
    # 1.65 MB per image: room for 1, 2, 6, 7, 10, 60 images
    assert chosen == [1, 2, 5, 5, 10, 10]


def test_a_limit_below_one_image_is_an_error(toy_recipe):
    network = create_model("cu_mamba_tiny")
    with pytest.raises(RecipeError, match="one image needs about"):
        micro_batches(toy_recipe(optim={"memory": "1MB"}), network, 1)


@pytest.mark.parametrize(
    ("patch", "processes", "message"), [(18, 1, "multiples of 4"), (16, 3, "3 processes")]
)
def test_shapes_that_do_not_fit_are_named(toy_recipe, patch, processes, message):
    recipe = toy_recipe(schedule={"phases": [{"until": 1.0, "patch": patch, "batch": 4}]})
    with pytest.raises(RecipeError, match=message):
        check_recipe(recipe, create_model("cu_mamba_tiny"), "cpu", processes)


def test_a_plan_survives_the_checkpoint():
    plan = TrainingPlan(100, (4, 2), (0.5, 0.25))
    assert TrainingPlan.from_dict(plan.to_dict()) == plan
