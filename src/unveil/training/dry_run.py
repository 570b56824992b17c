"""See what a recipe would do: its resolved form, size, memory and time, and two steps."""

from dataclasses import dataclass


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
