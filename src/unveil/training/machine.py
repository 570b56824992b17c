"""What to train on: no part of the recipe, which is the same everywhere."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """Devices and processes.

    Attributes:
        accelerator: `cpu`, `gpu` or `auto`.
        devices: Processes per node, each on its own device.
        nodes: Machines.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1

    @property
    def processes(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes
