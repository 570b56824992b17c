"""Binding of the native inner products of channels."""

from torch import Tensor

from unveil.ops._fused import POINTER, SIZE, FusedPass, address, function
from unveil.ops.channel_gram.reference import plain_gram
from unveil.ops.pointwise_conv.native import LANES, NONE, POINTWISE

__all__ = ["GRAM", "LANES"]


def _forward(x: Tensor) -> Tensor:
    b, h, w, c = x.shape
    y = x.new_empty(b, c, c)
    function("gram", POINTER, POINTER, *(SIZE,) * 3)(address(x), address(y), b, h * w, c)
    return y


def _backward(grad: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    matrix = (grad + grad.mT) / (x.shape[1] * x.shape[2])
    return (POINTWISE.forward(x, None, matrix, None, NONE),)


def _shape(x: Tensor) -> tuple[int, ...]:
    return x.shape[0], x.shape[3], x.shape[3]


GRAM = FusedPass(
    name="channel_gram",
    arguments="Tensor x",
    forward=_forward,
    backward=_backward,
    plain=plain_gram,
    shape=_shape,
).register()
