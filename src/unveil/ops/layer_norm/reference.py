"""Layer normalisation of channels, plain or gated, in plain PyTorch operations."""

import torch.nn.functional as F
from torch import Tensor


def plain_norm(
    x: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor | None, epsilon: float
) -> Tensor:
    """Normalise and gate; arguments as `norm_gate`, already checked.

    Args:
        x: Features (..., c).
        gate: Shaped as x; None for no gate.
        weight: (c,).
        bias: (c,).
        epsilon: Added to the variance.
    """
    y = F.layer_norm(x, weight.shape, weight, bias, epsilon)
    return y if gate is None else y * F.silu(gate)
