"""Depth-wise 3×3 convolution of channels-last features, with the activation behind it."""

from typing import Literal

from torch import Tensor

from unveil.errors import InputError
from unveil.ops.depthwise_conv.native import ACTIVATIONS, DEPTHWISE
from unveil.ops.dispatch import OpBackend, route

__all__ = ["Activation", "check_depthwise", "depthwise_conv"]

Activation = Literal["none", "silu", "gelu", "leaky_relu"]


def depthwise_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = "none",
    *,
    negative_slope: float = 0.01,
    backend: OpBackend = "auto",
) -> Tensor:
    """Convolve every channel with its own 3×3 kernel, zero-padded, and apply an activation.

    The native kernel reads the features once; its backward recomputes the convolution instead of
    storing it. It runs on the CPU in float32 (half types are cast around it); everything else, and
    an exported graph, runs as plain PyTorch operations.

    Args:
        x: Features (b, h, w, c).
        weight: (c, 1, 3, 3), as `torch.nn.Conv2d` stores it.
        bias: (c,).
        activation: ``"none"``, ``"silu"``, ``"gelu"`` (exact) or ``"leaky_relu"``.
        negative_slope: Slope of the leaky ReLU below zero.
        backend: ``"auto"``, or ``"reference"`` or ``"native"``, which then runs or raises.

    Returns:
        (b, h, w, c), typed as x.

    Raises:
        InputError: An argument has the wrong shape, or the activation is unknown.
        BackendUnavailableError: The backend asked for cannot run this call.

    >>> import torch
    >>> depthwise_conv(torch.ones(1, 3, 3, 1), torch.ones(1, 1, 3, 3))[0, :, :, 0]
    tensor([[4., 6., 4.],
            [6., 9., 6.],
            [4., 6., 4.]])
    """
    if activation not in ACTIVATIONS:
        names = ", ".join(ACTIVATIONS)
        raise InputError(f"activation is {activation!r}, expected one of {names}")
    check_depthwise(x, weight, bias)
    chosen = route(backend, x, weight, bias)
    code = ACTIVATIONS.index(activation)
    return DEPTHWISE.run(chosen, x, weight, bias, code, negative_slope, False)


def check_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Check the shapes of a depth-wise convolution's arguments.

    Args:
        x: (b, h, w, c).
        weight: (c, 1, 3, 3).
        bias: (c,).

    Raises:
        InputError: An argument has the wrong shape.

    >>> import torch
    >>> check_depthwise(torch.zeros(1, 2, 2, 5), torch.zeros(5, 1, 3, 3), None)
    """
    if x.dim() != 4:
        raise InputError(f"x has shape {tuple(x.shape)}, expected (b, h, w, c)")
    channels = x.shape[3]
    if weight.shape != (channels, 1, 3, 3):
        raise InputError(f"weight has shape {tuple(weight.shape)}, expected ({channels}, 1, 3, 3)")
    if bias is not None and bias.shape != (channels,):
        raise InputError(f"bias has shape {tuple(bias.shape)}, expected ({channels},)")
