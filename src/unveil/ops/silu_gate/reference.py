"""The SiLU gate in plain PyTorch operations."""

import torch.nn.functional as F
from torch import Tensor


def plain_silu_gate(x: Tensor, gate: Tensor) -> Tensor:
    """Return x · SiLU(gate)."""
    return x * F.silu(gate)
