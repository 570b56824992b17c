"""The depth-wise convolution in plain PyTorch operations, with activation or gate."""

import torch.nn.functional as F
from torch import Tensor


def activate(x: Tensor, activation: str, negative_slope: float) -> Tensor:
    """Apply an activation by name.

    Args:
        x: Features of any shape.
        activation: ``"none"``, ``"silu"``, ``"gelu"`` or ``"leaky_relu"``.
        negative_slope: Slope of the leaky ReLU below zero.

    >>> import torch
    >>> activate(torch.tensor([-1.0, 2.0]), "leaky_relu", 0.5)
    tensor([-0.5000,  2.0000])
    """
    if activation == "silu":
        return F.silu(x)
    if activation == "gelu":
        return F.gelu(x)
    return F.leaky_relu(x, negative_slope) if activation == "leaky_relu" else x


def plain_depthwise_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, negative_slope: float
) -> Tensor:
    """Convolve and activate; arguments as `depthwise_conv`, already checked.

    Args:
        x: Features (b, h, w, c).
        weight: (c, 1, 3, 3).
        bias: (c,).
        activation: As in `activate`.
        negative_slope: As in `activate`.
    """
    # The permuted view of channels-last data is torch's channels_last format: nothing is copied.
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=x.shape[3])
    return activate(y.permute(0, 2, 3, 1), activation, negative_slope)


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
