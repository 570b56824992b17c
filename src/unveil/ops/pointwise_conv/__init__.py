"""Pointwise (1×1) convolutions with what lies around them, in one pass."""

from typing import Literal, get_args

from torch import Tensor

from unveil.errors import InputError
from unveil.ops.dispatch import OpBackend, route
from unveil.ops.pointwise_conv.native import LANES, run

__all__ = ["Sampling", "pointwise_conv"]

Sampling = Literal["none", "down", "up"]


def pointwise_conv(
    x: Tensor,
    weight: Tensor,
    residual: Tensor | None = None,
    second: Tensor | None = None,
    *,
    sampling: Sampling = "none",
    backend: OpBackend = "auto",
) -> Tensor:
    """Map the channels linearly, with a residual, a second input or 2×2 patches.

    y = weight · (x, second) + residual, where pixel-unshuffle by 2 precedes (``"down"``) or
    pixel-shuffle follows (``"up"``). The native kernel reads patches and both inputs where they lie
    and begins its sums with the residual. It needs channels in multiples of 16 (outputs of ``"up"``
    of 32); all else, and an exported graph, runs as plain PyTorch operations.

    Args:
        x: Features (b, h, w, c).
        weight: (o, i), or (b, o, i) or (1, o, i) with a matrix per image; i is c, 2c with `second`,
            4c (row, column, channel) for ``"down"``.
        residual: Shaped as the output.
        second: Shaped as x; not with ``"down"``.
        sampling: ``"none"``, ``"down"`` (h and w even) or ``"up"`` (o divides by 4).
        backend: ``"auto"``, or ``"reference"`` or ``"native"``, which then runs or raises.

    Returns:
        (b, h, w, o), (b, h/2, w/2, o) or (b, 2h, 2w, o/4); typed as x.

    Raises:
        InputError: The shapes do not go together.
        BackendUnavailableError: The backend asked for cannot run this call.

    >>> import torch
    >>> x = torch.arange(4.0).view(1, 2, 2, 1)
    >>> pointwise_conv(x, torch.ones(1, 4), sampling="down").item()
    6.0
    """
    if sampling not in get_args(Sampling):
        raise InputError(f"sampling is {sampling!r}, expected one of none, down, up")
    kind = get_args(Sampling).index(sampling)
    _check(x, weight, residual, second, sampling)
    tensors = (x, second, weight, residual)
    limit = _hindrance(x, weight, sampling)
    chosen = route(backend, *tensors, limit=limit, products="pointwise_forward")
    return run(chosen, *tensors, kind)


def _hindrance(x: Tensor, weight: Tensor, sampling: Sampling) -> str | None:
    unit = 2 * LANES if sampling == "up" else LANES
    if x.shape[3] % LANES or weight.shape[-2] % unit:
        return f"{x.shape[3]} channels and {weight.shape[-2]} outputs, not multiples of {unit}"
    return None


def _check(
    x: Tensor, weight: Tensor, residual: Tensor | None, second: Tensor | None, sampling: Sampling
) -> None:
    if x.dim() != 4:
        raise InputError(f"x has shape {tuple(x.shape)}, expected (b, h, w, c)")
    b, h, w, c = x.shape
    if second is not None and (second.shape != x.shape or sampling == "down"):
        raise InputError(f"second has shape {tuple(second.shape)}, expected {tuple(x.shape)} as x")
    if sampling == "down" and (h % 2 or w % 2):
        raise InputError(f"x is {h}×{w}; expected an even height and width")
    inputs = c * (4 if sampling == "down" else 1 if second is None else 2)
    matrices = weight.dim() == 3 and weight.shape[0] in (1, b)
    if weight.shape[-1] != inputs or not (weight.dim() == 2 or matrices):
        raise InputError(
            f"weight has shape {tuple(weight.shape)}, expected (o, {inputs}) or ({b}, o, {inputs})"
        )
    outputs = weight.shape[-2]
    if sampling == "up" and outputs % 4:
        raise InputError(f"weight has {outputs} rows, expected a multiple of 4")
    sizes = {
        "none": (b, h, w, outputs),
        "down": (b, h // 2, w // 2, outputs),
        "up": (b, 2 * h, 2 * w, outputs // 4),
    }
    if residual is not None and residual.shape != sizes[sampling]:
        raise InputError(
            f"residual has shape {tuple(residual.shape)}, expected {sizes[sampling]} as the output"
        )
