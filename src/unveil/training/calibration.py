"""Calibration: the number of steps and the images per pass, fixed at the start of a run.

Both depend on the machine. They are measured once and stored in the checkpoint; a resumed run
keeps them.
"""

import copy
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from lightning_fabric import Fabric

from unveil.errors import RecipeError
from unveil.models.base import RestorationModel
from unveil.training.optimizer import build_optimizer
from unveil.training.recipe import Phase, Recipe
from unveil.training.step import Clock, accumulate_gradients

_TIMED_STEPS = 4


@dataclass(frozen=True)
class TrainingPlan:
    """Steps and micro-batches of a run.

    Attributes:
        steps: Optimiser steps in all.
        micro_batch: Images per pass and process, per phase.
        step_seconds: Measured seconds per step, per phase; empty when `steps` was given.
    """

    steps: int
    micro_batch: tuple[int, ...]
    step_seconds: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, as a checkpoint stores them."""
        content = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in content.items()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "TrainingPlan":
        """Read the result of `to_dict`."""
        return cls(
            steps=int(content["steps"]),
            micro_batch=tuple(content["micro_batch"]),
            step_seconds=tuple(content.get("step_seconds", ())),
        )


def measure_phases(
    recipe: Recipe,
    network: RestorationModel,
    fabric: Fabric,
    micro_batch: Sequence[int],
    *,
    processes: int,
    load_seconds: Callable[[Phase], float],
) -> tuple[float, ...]:
    """Measure the seconds of a step in every phase, on a copy that is thrown away.

    Args:
        recipe: The recipe.
        network: On the device it is trained on; not changed.
        fabric: Precision of the passes.
        micro_batch: Images per pass, per phase.
        processes: Processes that share a batch; communication is not measured.
        load_seconds: Seconds by which loading a phase's batch delays a step.
    """
    trial = copy.deepcopy(network).train()
    measured: dict[tuple[object, ...], float] = {}
    result = []
    for phase, images in zip(recipe.schedule.phases, micro_batch, strict=True):
        key = (phase.patch, phase.batch, recipe.loss(phase), images)
        if key not in measured:
            compute = _time_steps(recipe, trial, fabric, phase, images, phase.batch // processes)
            measured[key] = compute + load_seconds(phase)
        result.append(measured[key])
    return tuple(result)


def _time_steps(
    recipe: Recipe, trial: RestorationModel, fabric: Fabric, phase: Phase, images: int, batch: int
) -> float:
    device = next(trial.parameters()).device
    optimizer = build_optimizer(trial, recipe.optim)
    size = (batch, 3, phase.patch, phase.patch)
    clean = torch.rand(size, device=device, generator=torch.Generator(device).manual_seed(0))
    pairs = {"clean": clean, "degraded": clean * 0.9}
    loss, clip = recipe.loss(phase), recipe.optim.clip or math.inf
    times = []
    for _ in range(_TIMED_STEPS):
        start = time.perf_counter()
        optimizer.zero_grad()
        with fabric.autocast():
            accumulate_gradients(trial, pairs, loss, micro_batch=images, clock=Clock())
        torch.nn.utils.clip_grad_norm_(trial.parameters(), clip)
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    # The first step includes allocations and kernel choices.
    return statistics.median(times[1:])


def mean_step_seconds(recipe: Recipe, step_seconds: Sequence[float]) -> float:
    """Return the mean time of a step over all phases, in seconds.

    Args:
        recipe: Its phases.
        step_seconds: Seconds of a step, per phase.
    """
    phases = recipe.schedule.phases
    starts = [0.0, *(phase.until for phase in phases[:-1])]
    return sum(
        (phase.until - start) * seconds
        for phase, start, seconds in zip(phases, starts, step_seconds, strict=True)
    )


def steps_within(recipe: Recipe, step_seconds: Sequence[float], validation_seconds: float) -> int:
    """Return the number of steps that fit into the recipe's duration, validations included.

    Args:
        recipe: With `schedule.duration`.
        step_seconds: Seconds of a step, per phase.
        validation_seconds: Seconds of one validation.

    Raises:
        RecipeError: The duration is too short for a single step.
    """
    schedule, evaluation = recipe.schedule, recipe.evaluation
    assert schedule.duration is not None
    seconds = float(schedule.duration)
    mean = mean_step_seconds(recipe, step_seconds)
    # Training alternates with validations: its share of the time depends on the interval.
    if evaluation.every is not None:
        seconds *= evaluation.every / (evaluation.every + validation_seconds)
    else:
        assert evaluation.every_steps is not None
        mean += validation_seconds / evaluation.every_steps
    steps = math.floor(seconds / mean)
    if steps < 1:
        raise RecipeError(
            f"schedule.duration {schedule.duration.text} is too short: a step takes {mean:.1f} s"
        )
    return steps
