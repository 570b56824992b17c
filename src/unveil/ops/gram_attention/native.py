"""Binding of the native attention from inner products."""

import torch
from torch import Tensor

from unveil.ops._fused import POINTER, SIZE, FusedPass, address, function
from unveil.ops.gram_attention.reference import plain_gram_attention

# The kernels write whole vectors, in the widest instruction set of so many floats.
LANES = 16


def _kept(gram: Tensor, *weights: Tensor) -> Tensor:
    """Return room for queries, keys and attention."""
    b, c, _ = gram.shape
    own = c // weights[-1].shape[0]
    return gram.new_empty(b, c, 2 * c + own + -own % LANES)


def _forward(gram: Tensor, *weights: Tensor, kept: Tensor | None = None) -> Tensor:
    y = gram.new_empty(_shape(gram, *weights))
    function("gram_attention_forward", *(POINTER,) * 8, *(SIZE,) * 4)(
        *map(address, (gram, *weights, kept, y)), *_sizes(gram, *weights)
    )
    return y


def _backward(
    grad: Tensor, gram: Tensor, *weights: Tensor, kept: Tensor | None = None
) -> tuple[Tensor, ...]:
    if kept is None:
        kept = _kept(gram, *weights)
        _forward(gram, *weights, kept=kept)
    grads = tuple(torch.empty_like(t) for t in (gram, *weights))
    function("gram_attention_backward", *(POINTER,) * 14, *(SIZE,) * 4)(
        *map(address, (gram, *weights, kept, grad, *grads)), *_sizes(gram, *weights)
    )
    return grads


def _sizes(gram: Tensor, *weights: Tensor) -> tuple[int, ...]:
    return gram.shape[0], gram.shape[2], weights[0].shape[0], weights[-1].shape[0]


def _shape(gram: Tensor, *weights: Tensor) -> tuple[int, ...]:
    return gram.shape[0], weights[0].shape[0], gram.shape[2]


GRAM_ATTENTION = FusedPass(
    name="gram_attention",
    arguments="Tensor gram, Tensor out, Tensor query, Tensor key, Tensor value, Tensor temperature",
    forward=_forward,
    backward=_backward,
    plain=plain_gram_attention,
    shape=_shape,
    kept=_kept,
).register()
