"""Binding of the native depth-wise convolution, with activation or gate."""

import torch
from torch import Tensor

from unveil.ops._fused import FLOAT, INT, POINTER, SIZE, FusedPass, address, function
from unveil.ops.depthwise_conv.reference import plain_depthwise_conv, plain_gated_depthwise

ACTIVATIONS = ("none", "silu", "gelu", "leaky_relu")

_SHAPE_AND_TAIL = (*(SIZE,) * 4, INT, FLOAT, INT)


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: int,
    negative_slope: float,
    gated: bool,
) -> Tensor:
    y = x.new_empty(_shape(x, weight, bias, activation, negative_slope, gated))
    function("depthwise_forward", *(POINTER,) * 4, *_SHAPE_AND_TAIL)(
        address(x), address(weight), address(bias), address(y),
        *x.shape, activation, negative_slope, gated,
    )  # fmt: skip
    return y


def _backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: int,
    negative_slope: float,
    gated: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    grads = torch.empty_like(x), torch.empty_like(weight), weight.new_empty(x.shape[3])
    function("depthwise_backward", *(POINTER,) * 7, *_SHAPE_AND_TAIL)(
        address(x), address(weight), address(bias), address(grad), *map(address, grads),
        *x.shape, activation, negative_slope, gated,
    )  # fmt: skip
    return grads


def _plain(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: int,
    negative_slope: float,
    gated: bool,
) -> Tensor:
    name = ACTIVATIONS[activation]
    if not gated:
        return plain_depthwise_conv(x, weight, bias, name, negative_slope)
    return plain_gated_depthwise(x, weight, bias, name)


def _shape(x: Tensor, *others: object) -> tuple[int, ...]:
    b, h, w, c = x.shape
    gated = others[-1]
    return b, h, w, c // 2 if gated else c


DEPTHWISE = FusedPass(
    name="depthwise",
    arguments="Tensor x, Tensor weight, Tensor? bias, int activation, float negative_slope, "
    "bool gated",
    forward=_forward,
    backward=_backward,
    plain=_plain,
    shape=_shape,
).register()
