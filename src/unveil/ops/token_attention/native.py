"""Binding of the native attention to tokens."""

from typing import Any

import torch
from torch import Tensor

from unveil.ops._fused import POINTER, SIZE, FusedPass, address, function
from unveil.ops.token_attention.reference import plain_token_attention

# The kernels write whole vectors, in the widest instruction set of so many floats.
LANES = 16


def _forward(x: Tensor, *others: Any) -> Tensor:
    *given, heads = others
    out = torch.empty_like(x)
    function("token_attention", *(POINTER,) * 7, *(SIZE,) * 6)(
        *map(address, (x, *given, out)), *_sizes(x, given[2], heads)
    )
    return out


def _backward(grad: Tensor, x: Tensor, *others: Any) -> tuple[Tensor, ...]:
    *given, heads = others
    grads = tuple(torch.empty_like(tensor) for tensor in (x, *given))
    function("token_attention_backward", *(POINTER,) * 13, *(SIZE,) * 6)(
        *map(address, (x, *given, grad, *grads)), *_sizes(x, given[2], heads)
    )
    return grads


def _sizes(x: Tensor, keys: Tensor, heads: int) -> tuple[int, ...]:
    (b, h, w, c), (sets, tokens, _) = x.shape, keys.shape
    return b, h * w, c, tokens, heads, sets


TOKEN_ATTENTION = FusedPass(
    name="token_attention",
    arguments="Tensor x, Tensor y, Tensor gain, Tensor keys, Tensor values, Tensor matrix, "
    "int heads",
    forward=_forward,
    backward=_backward,
    plain=plain_token_attention,
).register()
