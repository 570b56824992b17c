"""Binding of the native gated unit."""

from typing import Any

import torch
from torch import Tensor

from unveil.ops import native
from unveil.ops._fused import FLOAT, INT, POINTER, SIZE, FusedPass, address, function
from unveil.ops._route import library
from unveil.ops.depthwise_conv.native import ACTIVATIONS
from unveil.ops.gated_unit.reference import plain_gated_unit

_SHAPE_AND_TAIL = (*(SIZE,) * 5, INT, FLOAT)


def has_fast_kernel() -> bool:
    """Whether the kernel library has the unit, and products as fast as torch's.

    A library built earlier has no unit; the portable products are slower than torch's.
    """
    loaded = library()
    has_unit = loaded is not None and hasattr(loaded, "unveil_gated_unit_forward")
    return has_unit and native.status().chosen != "portable"


def _forward(x: Tensor, *others: Any) -> Tensor:
    weights, (activation, epsilon) = others[:6], others[6:]
    y = x.new_empty(_shape(x, *others))
    function("gated_unit_forward", *(POINTER,) * 8, *_SHAPE_AND_TAIL)(
        address(x), *map(address, weights), address(y), *x.shape, weights[3].shape[0] // 2,
        activation, epsilon,
    )  # fmt: skip
    return y


def _backward(grad: Tensor, x: Tensor, *others: Any) -> tuple[Tensor, ...]:
    weights, (activation, epsilon) = others[:6], others[6:]
    norm_weight, _, expand, weight, _, project = weights
    grads = (
        torch.empty_like(x), torch.empty_like(norm_weight), torch.empty_like(norm_weight),
        torch.empty_like(expand), torch.empty_like(weight), weight.new_empty(weight.shape[0]),
        x.new_empty(0) if project is None else torch.empty_like(project),
    )  # fmt: skip
    function("gated_unit_backward", *(POINTER,) * 15, *_SHAPE_AND_TAIL)(
        address(x), *map(address, weights), address(grad), *map(address, grads), *x.shape,
        weight.shape[0] // 2, activation, epsilon,
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
).register()
