"""Binding of the native causal convolution."""

import torch
from torch import Tensor

from unveil.ops._fused import INT, POINTER, SIZE, FusedPass, address, function
from unveil.ops.causal_conv1d.reference import plain_causal_conv1d

MOST_TAPS = 4

_SHAPE_AND_ORDER = (*(SIZE,) * 5, INT, INT, INT)


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, by_column: bool, reverse: bool
) -> Tensor:
    y = torch.empty_like(x)
    function("causal_conv_forward", *(POINTER,) * 4, *_SHAPE_AND_ORDER)(
        address(x), address(weight), address(bias), address(y),
        *x.shape, weight.shape[-1], by_column, reverse, silu,
    )  # fmt: skip
    return y


def _backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    silu: bool,
    by_column: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    grads = torch.empty_like(x), torch.empty_like(weight), weight.new_empty(x.shape[-1])
    function("causal_conv_backward", *(POINTER,) * 7, *_SHAPE_AND_ORDER)(
        address(x), address(weight), address(bias), address(grad), *map(address, grads),
        *x.shape, weight.shape[-1], by_column, reverse, silu,
    )  # fmt: skip
    return grads


CAUSAL_CONV = FusedPass(
    name="causal_conv",
    arguments="Tensor x, Tensor weight, Tensor? bias, bool silu, bool by_column, bool reverse",
    forward=_forward,
    backward=_backward,
    plain=plain_causal_conv1d,
).register()
