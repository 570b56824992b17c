"""The gated depth-wise unit in one pass: what most of the small networks' time goes into."""

from typing import get_args

import torch.nn.functional as F
from torch import Tensor

from unveil.errors import InputError
from unveil.ops.depthwise_conv.native import ACTIVATIONS
from unveil.ops.dispatch import OpBackend, Route, route
from unveil.ops.gated_depthwise import Gate, gated_depthwise
from unveil.ops.gated_unit.native import GATED_UNIT, has_fast_kernel
from unveil.ops.gated_unit.reference import add_linear
from unveil.ops.layer_norm import check_norm, layer_norm

__all__ = ["gated_unit"]


def gated_unit(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor | None,
    expand: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    project: Tensor | None = None,
    *,
    gate: Gate = "none",
    epsilon: float = 1e-6,
    backend: OpBackend = "auto",
) -> Tensor:
    """Normalise, expand by a 1×1, convolve depth-wise, gate and, if given, project and add x.

    y = gate(a) · b with (a, b) = conv(expand · LayerNorm(x)), and x + project · y where there is
    `project`. The native kernel takes a few rows through all of it while they are in the cache. Its
    backward keeps x and, up to 64 MiB, the expanded features; all else is computed anew. Where it
    runs: see `depthwise_conv`.

    Args:
        x: Features (b, h, w, c).
        norm_weight: Of the normalisation (c,).
        norm_bias: Of the normalisation (c,).
        expand: (2i, c).
        weight: Of the convolution (2i, 1, 3, 3).
        bias: Of the convolution (2i,).
        project: (c, i).
        gate: As in `gated_depthwise`.
        epsilon: Added to the variance.
        backend: ``"auto"``, or ``"reference"`` or ``"native"``, which then runs or raises.

    Returns:
        (b, h, w, c) with `project`, (b, h, w, i) without it; typed as x.

    Raises:
        InputError: An argument has the wrong shape, or the gate is unknown.
        BackendUnavailableError: The backend asked for cannot run this call.

    Source: Chen et al., "Simple Baselines for Image Restoration" (arXiv:2204.04676), figure 3c.

    >>> import torch
    >>> ones = torch.ones(1, 1, 1, 2)
    >>> gated_unit(ones, torch.ones(2), torch.ones(2), torch.ones(2, 2), torch.ones(2, 1, 3, 3))
    tensor([[[[4.]]]])
    """
    _check(x, norm_weight, norm_bias, expand, weight, bias, project)
    if gate not in get_args(Gate):
        raise InputError(f"gate is {gate!r}, expected one of {', '.join(get_args(Gate))}")
    tensors = (x, norm_weight, norm_bias, expand, weight, bias, project)
    chosen = route(backend, *tensors)
    if chosen is Route.DIRECT and backend == "auto" and not has_fast_kernel():
        return _in_parts(*tensors, gate, epsilon)
    return GATED_UNIT.run(chosen, *tensors, ACTIVATIONS.index(gate), epsilon)


def _in_parts(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor | None,
    expand: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    project: Tensor | None,
    gate: Gate,
    epsilon: float,
) -> Tensor:
    """Run the unit pass by pass, each where it is fastest."""
    normal = layer_norm(x, norm_weight, norm_bias, epsilon)
    y = gated_depthwise(F.linear(normal, expand), weight, bias, gate)
    return y if project is None else add_linear(x, y, project)


def _check(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor | None,
    expand: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    project: Tensor | None,
) -> None:
    if x.dim() != 4:
        raise InputError(f"x has shape {tuple(x.shape)}, expected (b, h, w, c)")
    check_norm(x, norm_weight, norm_bias)
    channels, wide = x.shape[3], expand.shape[0]
    if expand.dim() != 2 or wide % 2 or expand.shape[1] != channels:
        raise InputError(f"expand has shape {tuple(expand.shape)}, expected (2i, {channels})")
    expected = {"weight": (wide, 1, 3, 3), "bias": (wide,), "project": (channels, wide // 2)}
    for (name, shape), value in zip(expected.items(), (weight, bias, project), strict=True):
        if value is not None and value.shape != shape:
            raise InputError(f"{name} has shape {tuple(value.shape)}, expected {shape}")
