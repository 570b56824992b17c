"""Depth-wise 3×3 convolution whose first half of the channels gates the second."""

from typing import Literal, get_args

from torch import Tensor

from unveil.errors import InputError
from unveil.ops.depthwise_conv import check_depthwise
from unveil.ops.depthwise_conv.native import ACTIVATIONS, DEPTHWISE
from unveil.ops.dispatch import OpBackend, route

__all__ = ["Gate", "gated_depthwise"]

Gate = Literal["none", "silu", "gelu"]


def gated_depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    gate: Gate = "none",
    *,
    backend: OpBackend = "auto",
) -> Tensor:
    """Convolve every channel with its own 3×3 kernel and multiply the two halves of the channels.

    y = gate(conv(x)[..., :c]) · conv(x)[..., c:]. The convolution's output is never stored, and
    recomputed in the backward. Where the native kernel runs: see `depthwise_conv`.

    Args:
        x: Features (b, h, w, 2c).
        weight: (2c, 1, 3, 3), as `torch.nn.Conv2d` stores it.
        bias: (2c,).
        gate: What the first half passes through: ``"none"`` (NAFNet's simple gate), ``"silu"`` or
            ``"gelu"`` (Restormer's feed-forward network).
        backend: ``"auto"``, or ``"reference"`` or ``"native"``, which then runs or raises.

    Returns:
        (b, h, w, c), typed as x.

    Raises:
        InputError: An argument has the wrong shape, or the gate is unknown.
        BackendUnavailableError: The backend asked for cannot run this call.

    Source: Chen et al., "Simple Baselines for Image Restoration" (arXiv:2204.04676), section 3.4;
        Zamir et al., "Restormer" (arXiv:2111.09881), equation 3.

    >>> import torch
    >>> gated_depthwise(torch.ones(1, 1, 1, 2), torch.full((2, 1, 3, 3), 3.0)).item()
    9.0
    """
    if gate not in get_args(Gate):
        raise InputError(f"gate is {gate!r}, expected one of {', '.join(get_args(Gate))}")
    check_depthwise(x, weight, bias)
    if x.shape[3] % 2:
        raise InputError(f"x has {x.shape[3]} channels, expected an even number")
    chosen = route(backend, x, weight, bias)
    return DEPTHWISE.run(chosen, x, weight, bias, ACTIVATIONS.index(gate), 0.0, True)
