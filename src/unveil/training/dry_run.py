"""Dry run: a recipe's resolved form, size, memory and time on this machine, and two steps."""

import json
from dataclasses import asdict, dataclass
from itertools import islice

from unveil.models.base import count_parameters
from unveil.training.calibration import TrainingPlan, mean_step_seconds, steps_within
from unveil.training.devices import Devices
from unveil.training.loop import train_step
from unveil.training.micro_batch import memory_needed, micro_batches
from unveil.training.recipe import Recipe
from unveil.training.recipe_file import dump_recipe
from unveil.training.session import Session, build_network, check_recipe
from unveil.training.units import format_seconds
from unveil.training.validation import validate


@dataclass(frozen=True)
class DryRun:
    """A recipe measured on this machine.

    Attributes:
        recipe: The resolved recipe as YAML.
        parameters: Trainable numbers of the network.
        photographs: Training images or pairs.
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


def dry_run(recipe: Recipe, *, devices: Devices | None = None) -> DryRun:
    """Open the session of a training, measure it, and take two steps; nothing is written.

    Args:
        recipe: The recipe.
        devices: What it would be trained on. One process is run, with its part of the batch; times
            are without communication.

    Raises:
        UnveilError: An error that would keep the training from starting.
    """
    devices = devices or Devices()
    recipe, network = build_network(recipe)
    check_recipe(recipe, network, devices.first().type, devices.processes)
    fabric = devices.alone().fabric(recipe.optim.precision)
    session = Session(recipe, network, fabric, processes=devices.processes)
    session.launch()
    micro_batch = micro_batches(recipe, network, session.processes)
    memory = memory_needed(recipe, network, micro_batch)
    validation = validate(network.eval(), session.images)
    network.train()
    speeds = session.measure(micro_batch)
    steps = recipe.schedule.steps or steps_within(recipe, speeds, validation.seconds)
    session.plan = TrainingPlan(max(2, steps), micro_batch)
    losses = [train_step(session, batch).loss for batch in islice(session.batches(workers=0), 2)]
    return DryRun(
        recipe=dump_recipe(recipe),
        parameters=count_parameters(network),
        photographs=sum(len(source.pairs) for source in session.dataset.sources),
        micro_batch=list(micro_batch),
        memory_bytes=memory,
        step_seconds=list(speeds),
        steps=steps,
        seconds=steps * mean_step_seconds(recipe, speeds),
        validation_seconds=validation.seconds,
        losses=losses,
    )
