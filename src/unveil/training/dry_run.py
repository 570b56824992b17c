"""See what a recipe would do here: its resolved form, size, memory and time, and two steps."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from torch.utils.data import default_collate

from unveil.data import TrainingSet
from unveil.errors import TrainingError
from unveil.models.base import RestorationModel, count_parameters
from unveil.training.batches import (
    default_workers,
    load_seconds,
    step_batches,
    training_set,
    validation_pairs,
)
from unveil.training.losses import parse_loss
from unveil.training.machine import Machine
from unveil.training.optimizer import build_optimizer, set_rate
from unveil.training.plan import (
    autocast,
    check_precision,
    check_shapes,
    mean_step_seconds,
    measure_phases,
    memory_needed,
    micro_batches,
    phase_loss,
    phase_task_loss,
    steps_within,
)
from unveil.training.quantities import format_seconds
from unveil.training.recipe import Recipe
from unveil.training.recipe_file import dump_recipe
from unveil.training.run import build_network, resolve_model
from unveil.training.schedule import learning_rate
from unveil.training.step import Clock, accumulate_gradients, gradient_norm
from unveil.training.validation import validate


@dataclass(frozen=True)
class DryRun:
    """What a recipe would do on this machine.

    Attributes:
        recipe: The resolved recipe as YAML.
        parameters: Trainable numbers of the network.
        photographs: Training photographs or pairs.
        micro_batch: Images per pass and process, per phase.
        memory_bytes: Estimated memory of the most demanding phase, this process included.
        step_seconds: Measured seconds per step, per phase.
        steps: Steps in all.
        seconds: Estimated time of all steps, validations not counted.
        validation_seconds: Measured time of one validation.
        losses: Losses of the two steps taken.
    """

    recipe: str
    parameters: int
    photographs: int
    micro_batch: list[int]
    memory_bytes: int
    step_seconds: list[float]
    steps: int
    seconds: float
    validation_seconds: float
    losses: list[float]

    def to_json(self) -> str:
        """Return all of it as a JSON object."""
        return json.dumps(asdict(self))

    def to_text(self) -> str:
        """Return the recipe and, below it, a line per figure."""
        speeds = ", ".join(f"{seconds:.3g} s" for seconds in self.step_seconds)
        lines = [
            self.recipe.rstrip(),
            "---",
            f"parameters   {self.parameters:,}",
            f"photographs  {self.photographs:,}",
            f"micro-batch  {', '.join(map(str, self.micro_batch))} (per phase and process)",
            f"memory       {self.memory_bytes / 1e9:.2f} GB (estimated, largest phase)",
            f"step         {speeds} (per phase)",
            f"time         {format_seconds(self.seconds)} for {self.steps:,} steps, and "
            f"{format_seconds(self.validation_seconds)} per validation",
            f"two steps    loss {self.losses[0]:.4g}, {self.losses[1]:.4g}",
        ]
        return "\n".join(lines)


def dry_run(recipe: Recipe, *, machine: Machine | None = None) -> DryRun:
    """Build everything a training needs, measure it, and take two steps; nothing is kept.

    Args:
        recipe: The recipe.
        machine: What it would be trained on; times are one process' without communication.

    Raises:
        UnveilError: Whatever would keep the training from starting.
    """
    machine = machine or Machine()
    check_precision(recipe, machine.device())
    recipe = resolve_model(recipe)
    network = build_network(recipe).to(machine.device())
    check_shapes(recipe, network.size_multiple, machine.processes)
    dataset = training_set(recipe)
    pairs = validation_pairs(recipe.evaluation, network.size_multiple)
    micro_batch = micro_batches(recipe, network, machine.processes)
    memory = memory_needed(recipe, network, micro_batch)
    workers = recipe.data.workers if recipe.data.workers is not None else default_workers()
    scored = validate(network.eval(), pairs)
    speeds = measure_phases(
        recipe,
        network.train(),
        micro_batch,
        processes=machine.processes,
        load_seconds=load_seconds(dataset, workers, machine.processes),
    )
    steps = recipe.schedule.steps or steps_within(recipe, speeds, scored.seconds)
    return DryRun(
        recipe=dump_recipe(recipe),
        parameters=count_parameters(network),
        photographs=sum(len(source.pairs) for source in dataset.sources),
        micro_batch=list(micro_batch),
        memory_bytes=memory,
        step_seconds=list(speeds),
        steps=steps,
        seconds=steps * mean_step_seconds(recipe, speeds),
        validation_seconds=scored.seconds,
        losses=_two_steps(recipe, network, dataset, micro_batch[0], steps, machine),
    )


def _two_steps(
    recipe: Recipe,
    network: RestorationModel,
    dataset: TrainingSet,
    micro_batch: int,
    steps: int,
    machine: Machine,
) -> list[float]:
    """Train on the first two batches and return their losses."""
    optimizer = build_optimizer(network, recipe.optim)
    batches = step_batches(recipe, max(2, steps), processes=machine.processes)
    phase = recipe.schedule.phases[0]
    loss = parse_loss(phase_loss(recipe, phase))
    losses = []
    for step, keys in zip(range(2), batches, strict=False):
        batch: dict[str, Any] = default_collate([dataset[key] for key in keys])
        for name in ("degraded", "clean"):
            batch[name] = batch[name].to(machine.device())
        set_rate(optimizer, learning_rate(recipe.schedule, recipe.optim.lr, step, steps))
        optimizer.zero_grad()
        with autocast(recipe, machine.device()):
            value = accumulate_gradients(
                network,
                batch,
                loss,
                micro_batch=micro_batch,
                clock=Clock(),
                task_loss=phase_task_loss(recipe, phase),
            )
        norm = gradient_norm(network, recipe.optim.clip)
        losses.append(value.item())
        if not math.isfinite(losses[-1] + norm):
            raise TrainingError(
                f"step {step} has loss {losses[-1]} and gradient norm {norm}: lower optim.lr or "
                f"look at {', '.join(batch['name'])}"
            )
        optimizer.step()
    return losses
