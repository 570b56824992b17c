"""The SiLU gate in plain PyTorch operations."""

import torch.nn.functional as F
from torch import Tensor


def plain_silu_gate(x: Tensor, gate: Tensor) -> Tensor:
    """Return x · SiLU(gate).

    Args:
        x: Features of any shape.
        gate: Shaped as x.
    """
    return x * F.silu(gate)
