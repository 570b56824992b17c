"""Binding of the native pointwise convolution."""

from typing import Any

import torch
from torch import Tensor

from unveil.ops._fused import INT, POINTER, SIZE, FusedPass, address, function, ready, recorded
from unveil.ops.dispatch import Route, needs_gradients
from unveil.ops.pointwise_conv.reference import plain_pointwise

# The kernels write whole vectors, in the widest instruction set of so many floats.
LANES = 16
NONE, DOWN, UP = range(3)


def run(how: Route, *arguments: Any) -> Tensor:
    """Run the operation; the output is typed as x.

    Args:
        how: From `route`.
        arguments: The operator's, checked.
    """
    tensors = arguments[:4]
    if how is not Route.DIRECT or not needs_gradients(tensors):
        return POINTWISE.run(how, *arguments)
    y: Tensor = _recorded(*(None if t is None else ready(t) for t in tensors), arguments[4])
    return y if y.dtype is tensors[0].dtype else y.to(tensors[0].dtype)


def _forward(
    x: Tensor, second: Tensor | None, weight: Tensor, residual: Tensor | None, sampling: int
) -> Tensor:
    y = x.new_empty(_shape(x, second, weight, residual, sampling))
    function("pointwise_forward", *(POINTER,) * 5, *(SIZE,) * 6, INT)(
        *map(address, (x, second, weight, residual, y)), *_sizes(x, weight, sampling), sampling
    )
    return y


def _backward(
    grad: Tensor,
    x: Tensor,
    second: Tensor | None,
    weight: Tensor,
    residual: Tensor | None,
    sampling: int,
) -> tuple[Tensor, ...]:
    grads = _input_grads(grad, second is not None, weight, sampling)
    given = [x.new_empty(0) if g is None else g for g in grads]
    copy = x.new_empty(0) if residual is None else grad.clone()
    return (*given, _weight_grad(grad, x, second, weight, sampling), copy)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs[:3])
    ctx.sampling = inputs[4]


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients that are needed; the residual's is the output's, not a copy of it."""
    x, second, weight = ctx.saved_tensors
    grad, needed = ready(grad), ctx.needs_input_grad
    inputs: list[Tensor | None] = [None, None]
    if needed[0] or needed[1]:
        inputs = _input_grads(grad, second is not None, weight, ctx.sampling)
    grad_weight = _weight_grad(grad, x, second, weight, ctx.sampling) if needed[2] else None
    return (*inputs, grad_weight, grad if needed[3] else None, None)


_recorded = recorded(_forward, _save, _differentiate)


def _input_grads(grad: Tensor, two: bool, weight: Tensor, sampling: int) -> list[Tensor | None]:
    turned = weight.mT
    back = {NONE: NONE, DOWN: UP, UP: DOWN}[sampling]
    if not two:
        return [_forward(grad, None, turned.contiguous(), None, back), None]
    return [_forward(grad, None, half.contiguous(), None, back) for half in turned.chunk(2, -2)]


def _weight_grad(
    grad: Tensor, x: Tensor, second: Tensor | None, weight: Tensor, sampling: int
) -> Tensor:
    sums = torch.empty_like(weight)
    function("pointwise_weight", *(POINTER,) * 4, *(SIZE,) * 6, INT)(
        *map(address, (x, second, grad, sums)), *_sizes(x, weight, sampling), sampling
    )
    return sums


def _sizes(x: Tensor, weight: Tensor, sampling: int) -> tuple[int, ...]:
    b, h, w, c = x.shape
    if sampling == DOWN:
        h, w = h // 2, w // 2
    return b, h, w, c, weight.shape[-2], 1 if weight.dim() == 2 else weight.shape[0]


def _shape(
    x: Tensor, second: Tensor | None, weight: Tensor, residual: Tensor | None, sampling: int
) -> tuple[int, ...]:
    del second, residual
    b, h, w, _, outputs, _ = _sizes(x, weight, sampling)
    return (b, 2 * h, 2 * w, outputs // 4) if sampling == UP else (b, h, w, outputs)


POINTWISE = FusedPass(
    name="pointwise_conv",
    arguments="Tensor x, Tensor? second, Tensor weight, Tensor? residual, int sampling",
    forward=_forward,
    backward=_backward,
    plain=plain_pointwise,
    shape=_shape,
).register()
