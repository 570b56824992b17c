"""What to train on: no part of the recipe, which is the same everywhere."""

import logging
from dataclasses import dataclass, replace
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.rank_zero import rank_zero_only

from unveil.errors import InputError

_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


@dataclass(frozen=True)
class Devices:
    """Devices and processes.

    Attributes:
        accelerator: `cpu`, `gpu` or `auto`.
        per_node: Processes per node, each on its own device.
        nodes: Machines.
    """

    accelerator: str = "auto"
    per_node: int = 1
    nodes: int = 1

    @property
    def processes(self) -> int:
        """Processes in all."""
        return self.per_node * self.nodes

    def alone(self) -> "Devices":
        """Return one of these devices, for one process."""
        return replace(self, per_node=1, nodes=1)

    def first(self) -> torch.device:
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

    def fabric(self, precision: str) -> Fabric:
        """Return what launches the processes and places the network on them.

        Args:
            precision: `fp32`, `bf16` or `fp16`.

        Raises:
            InputError: As `first`.
        """
        # Its banners name what the recipe and the command line have set.
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        return Fabric(
            accelerator="gpu" if self.first().type == "cuda" else "cpu",
            devices=self.per_node,
            num_nodes=self.nodes,
            strategy="ddp" if self.processes > 1 else "auto",
            precision=_PRECISION[precision],
        )


def is_first_process() -> bool:
    """Return whether this process reports for all of them."""
    return getattr(rank_zero_only, "rank", 0) == 0
