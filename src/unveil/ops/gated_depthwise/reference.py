"""The gated depth-wise convolution in plain PyTorch operations."""

from torch import Tensor

from unveil.ops.depthwise_conv.reference import activate, plain_depthwise_conv


def plain_gated_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, gate: str) -> Tensor:
    """Convolve, split and gate; arguments as `gated_depthwise`, already checked.

    Args:
        x: Features (b, h, w, 2c).
        weight: (2c, 1, 3, 3).
        bias: (2c,).
        gate: ``"none"``, ``"silu"`` or ``"gelu"``.
    """
    first, second = plain_depthwise_conv(x, weight, bias, "none", 0.0).chunk(2, -1)
    return activate(first, gate, 0.0) * second
