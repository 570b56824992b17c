"""What to train on: no part of the recipe, which is the same everywhere."""

from dataclasses import dataclass

import torch

from unveil.errors import InputError


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

    def device(self) -> torch.device:
        """Return the device of the first process.

        Raises:
            InputError: The accelerator is unknown, or there is no GPU.
        """
        if self.accelerator not in ("auto", "cpu", "gpu"):
            raise InputError(f"got accelerator {self.accelerator!r}, expected auto, cpu or gpu")
        if self.accelerator == "cpu" or not torch.cuda.is_available():
            if self.accelerator == "gpu":
                raise InputError("this machine has no GPU that PyTorch can use: choose cpu")
            return torch.device("cpu")
        return torch.device("cuda", 0)
