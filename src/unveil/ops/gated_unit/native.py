"""Binding of the native gated unit."""

from typing import Any

import torch
from torch import Tensor

from unveil.ops._fused import FLOAT, INT, POINTER, SIZE, FusedPass, address, function
from unveil.ops.depthwise_conv.native import ACTIVATIONS
from unveil.ops.dispatch import has_fast_products
from unveil.ops.gated_unit.reference import plain_gated_unit

# Above this size in bytes the expansion is computed anew: it would not fit into any cache, and
# large images need the memory.
_MOST_KEPT = 64 << 20
_SHAPE_AND_TAIL = (*(SIZE,) * 5, INT, FLOAT)


def has_fast_kernel() -> bool:
    """Whether the kernel library has the unit, with products as fast as torch's."""
    return has_fast_products("unit_forward")


def _kept(x: Tensor, *others: Any) -> Tensor | None:
    """Return a buffer for the expansion, which the operator's backward computes anew."""
    weight = others[3]
    pixels, wide = x.numel() // x.shape[3], 2 * (-(-(weight.shape[0] // 2) // 16) * 16)
    return x.new_empty(pixels * wide) if 4 * pixels * wide <= _MOST_KEPT else None


def _forward(x: Tensor, *others: Any, kept: Tensor | None = None) -> Tensor:
    weights, (activation, epsilon) = others[:6], others[6:]
    y = x.new_empty(_shape(x, *others))
    function("unit_forward", *(POINTER,) * 9, *_SHAPE_AND_TAIL)(
        address(x), *map(address, weights), address(kept), address(y), *x.shape,
        weights[3].shape[0] // 2, activation, epsilon,
    )  # fmt: skip
    return y


def _backward(
    grad: Tensor, x: Tensor, *others: Any, kept: Tensor | None = None
) -> tuple[Tensor, ...]:
    weights, (activation, epsilon) = others[:6], others[6:]
    norm_weight, _, expand, weight, _, project = weights
    grads = (
        torch.empty_like(x), torch.empty_like(norm_weight), torch.empty_like(norm_weight),
        torch.empty_like(expand), torch.empty_like(weight), weight.new_empty(weight.shape[0]),
        x.new_empty(0) if project is None else torch.empty_like(project),
    )  # fmt: skip
    function("unit_backward", *(POINTER,) * 16, *_SHAPE_AND_TAIL)(
        address(x), *map(address, weights), address(kept), address(grad), *map(address, grads),
        *x.shape, weight.shape[0] // 2, activation, epsilon,
    )  # fmt: skip
    return grads


def _plain(x: Tensor, *others: Any) -> Tensor:
    activation, epsilon = others[6:]
    return plain_gated_unit(x, *others[:6], gate=ACTIVATIONS[activation], epsilon=epsilon)


def _shape(x: Tensor, *others: Any) -> tuple[int, ...]:
    weight, project = others[3], others[5]
    return (*x.shape[:3], weight.shape[0] // 2 if project is None else x.shape[3])


GATED_UNIT = FusedPass(
    name="gated_unit",
    arguments="Tensor x, Tensor norm_weight, Tensor? norm_bias, Tensor expand, Tensor weight, "
    "Tensor? bias, Tensor? project, int activation, float epsilon",
    forward=_forward,
    backward=_backward,
    plain=_plain,
    shape=_shape,
    kept=_kept,
).register()
