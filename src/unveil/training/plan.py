"""What is decided once, at the start: the number of steps and the images per pass.

Both depend on the machine, so they are measured, then stored in the checkpoint and never again
decided: a resumed run follows the plan of the run it continues.
"""

import copy
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from unveil.errors import RecipeError
from unveil.models.base import RestorationModel
from unveil.training.losses import parse_loss
from unveil.training.memory import largest_micro_batch, memory_in_use, saved_bytes, step_bytes
from unveil.training.optimizer import build_optimizer
from unveil.training.quantities import parse_bytes, parse_duration
from unveil.training.recipe import Phase, Recipe, TaskWeights
from unveil.training.step import Clock, accumulate_gradients, gradient_norm

_TIMED_STEPS = 4
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Plan:
    """The decisions of a run.

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
    def from_dict(cls, content: dict[str, Any]) -> "Plan":
        """Read what `to_dict` wrote."""
        return cls(
            steps=int(content["steps"]),
            micro_batch=tuple(content["micro_batch"]),
            step_seconds=tuple(content.get("step_seconds", ())),
        )


def phase_loss(recipe: Recipe, phase: Phase) -> str:
    """Return the notation of the loss a phase is trained on."""
    return phase.loss or recipe.optim.loss


def phase_task_loss(recipe: Recipe, phase: Phase) -> TaskWeights:
    """Return what the losses of tasks are multiplied by in a phase."""
    return recipe.optim.task_loss if phase.task_loss is None else phase.task_loss


def check_shapes(recipe: Recipe, size_multiple: int, processes: int) -> None:
    """Check that patches suit the network and batches divide among the processes.

    Raises:
        RecipeError: A patch or batch does not.
    """
    for number, phase in enumerate(recipe.schedule.phases):
        if phase.patch % size_multiple:
            raise RecipeError(
                f"schedule.phases.{number}.patch is {phase.patch}, but {recipe.model.id} takes "
                f"multiples of {size_multiple}"
            )
        if phase.batch % processes:
            raise RecipeError(
                f"schedule.phases.{number}.batch is {phase.batch}, which {processes} processes "
                "cannot share equally: choose a multiple"
            )


def check_precision(recipe: Recipe, device: torch.device) -> None:
    """Check that the device computes in the recipe's precision.

    Raises:
        RecipeError: fp16 on a processor.
    """
    if recipe.optim.precision == "fp16" and device.type == "cpu":
        raise RecipeError("optim.precision fp16 needs a GPU: use fp32 or bf16")


def micro_batches(recipe: Recipe, network: nn.Module, processes: int) -> tuple[int, ...]:
    """Choose the images per pass of every phase.

    Args:
        recipe: Its `optim.micro_batch` wins over `optim.memory`; with neither, passes are whole.
        network: On the device it is trained on.
        processes: Processes that share a batch.

    Raises:
        RecipeError: Not even one image fits into `optim.memory`.
    """
    optim = recipe.optim
    in_use = memory_in_use(next(network.parameters()).device)
    chosen = []
    for phase in recipe.schedule.phases:
        batch = phase.batch // processes
        if optim.micro_batch is not None:
            chosen.append(min(optim.micro_batch, batch))
        elif optim.memory is not None:
            per_image = saved_bytes(network, parse_loss(phase_loss(recipe, phase)), phase.patch)
            limit = parse_bytes(optim.memory)
            chosen.append(largest_micro_batch(network, per_image, batch, limit, in_use))
        else:
            chosen.append(batch)
    return tuple(chosen)


def memory_needed(recipe: Recipe, network: nn.Module, micro_batch: Sequence[int]) -> int:
    """Estimate the bytes of the most demanding phase's step, runtime and cached images included."""
    in_use = memory_in_use(next(network.parameters()).device)
    needs = []
    for phase, images in zip(recipe.schedule.phases, micro_batch, strict=True):
        per_image = saved_bytes(network, parse_loss(phase_loss(recipe, phase)), phase.patch)
        needs.append(in_use + step_bytes(network, per_image, images))
    return max(needs)


def measure_phases(
    recipe: Recipe,
    network: RestorationModel,
    micro_batch: Sequence[int],
    *,
    processes: int,
    load_seconds: Callable[[Phase], float],
) -> tuple[float, ...]:
    """Measure the seconds of a step in every phase, on a copy that is thrown away.

    Args:
        recipe: The recipe.
        network: On the device it is trained on; not changed.
        micro_batch: Images per pass, per phase.
        processes: Processes that share a batch.
        load_seconds: Seconds a phase's batch takes to load, as far as that delays a step.
    """
    trial = copy.deepcopy(network).train()
    measured: dict[tuple[object, ...], float] = {}
    result = []
    for phase, images in zip(recipe.schedule.phases, micro_batch, strict=True):
        key = (phase.patch, phase.batch, phase_loss(recipe, phase), images)
        if key not in measured:
            compute = _time_steps(recipe, trial, phase, images, phase.batch // processes)
            measured[key] = compute + load_seconds(phase)
        result.append(measured[key])
    return tuple(result)


def _time_steps(
    recipe: Recipe, trial: RestorationModel, phase: Phase, images: int, batch: int
) -> float:
    device = next(trial.parameters()).device
    optim = recipe.optim
    optimizer = build_optimizer(trial, optim)
    size = (batch, 3, phase.patch, phase.patch)
    clean = torch.rand(size, device=device, generator=torch.Generator(device).manual_seed(0))
    pairs = {"clean": clean, "degraded": clean * 0.9}
    loss = parse_loss(phase_loss(recipe, phase))
    times = []
    for _ in range(_TIMED_STEPS):
        start = time.perf_counter()
        optimizer.zero_grad()
        with autocast(recipe, device):
            accumulate_gradients(trial, pairs, loss, micro_batch=images, clock=Clock())
        gradient_norm(trial, optim.clip)
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    # the first step pays for allocations and kernel choices
    return statistics.median(times[1:])


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Return the context of a forward and backward pass in the recipe's precision."""
    precision = recipe.optim.precision
    enabled = precision in _AUTOCAST
    return torch.autocast(device.type, dtype=_AUTOCAST.get(precision), enabled=enabled)


def mean_step_seconds(recipe: Recipe, step_seconds: Sequence[float]) -> float:
    """Return the mean time of a step over all phases, in seconds."""
    phases = recipe.schedule.phases
    starts = [0.0, *(phase.until for phase in phases[:-1])]
    return sum(
        (phase.until - start) * seconds
        for phase, start, seconds in zip(phases, starts, step_seconds, strict=True)
    )


def steps_within(recipe: Recipe, step_seconds: Sequence[float], validation_seconds: float) -> int:
    """Return how many steps fit into the recipe's duration, validations included.

    Args:
        recipe: With `schedule.duration`.
        step_seconds: Seconds of a step, per phase.
        validation_seconds: Seconds of one validation.

    Raises:
        RecipeError: The duration is too short for a single step.
    """
    schedule, evaluation = recipe.schedule, recipe.evaluation
    assert schedule.duration is not None
    seconds = parse_duration(schedule.duration)
    mean = mean_step_seconds(recipe, step_seconds)
    # Training alternates with validations: the share of time left to it depends on the interval.
    if evaluation.every is not None:
        interval = parse_duration(evaluation.every)
        seconds *= interval / (interval + validation_seconds)
    else:
        assert evaluation.every_steps is not None
        mean += validation_seconds / evaluation.every_steps
    steps = math.floor(seconds / mean)
    if steps < 1:
        raise RecipeError(
            f"schedule.duration {schedule.duration} is too short: a step takes {mean:.1f} s"
        )
    return steps
