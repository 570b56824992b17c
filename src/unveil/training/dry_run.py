"""See what a recipe would do: its resolved form, size, memory and time, and two steps."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from unveil.training.batches import default_workers, load_seconds, training_set
from unveil.training.plan import (
    check_shapes,
    measure_phases,
    memory_needed,
    micro_batches,
)
from unveil.training.recipe import Recipe
from unveil.training.recipe_file import dump_recipe
from unveil.training.quantities import format_seconds


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
        seconds: Estimated time of all steps, validations included.
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
    losses: list[float]
