"""What PyTorch's FLOP counter adds for the registered operators, which it would count as nothing.

As it does elsewhere, it counts products and sums, backward twice the forward, and nothing that is
element-wise.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from unveil.ops.causal_conv1d.native import CAUSAL_CONV
from unveil.ops.channel_gram.native import GRAM
from unveil.ops.depthwise_conv.native import DEPTHWISE
from unveil.ops.gated_unit.native import GATED_UNIT
from unveil.ops.gram_attention.native import GRAM_ATTENTION
from unveil.ops.pointwise_conv.native import POINTWISE
from unveil.ops.selective_scan import native as scan_native
from unveil.ops.token_attention.native import TOKEN_ATTENTION

Shape = Sequence[int]

# One state update: Δ·A, (Δu)·B, the decayed state and its sum, the product with C and its sum.
_PER_UPDATE = 6

_ops: Any = torch.ops.unveil
# Their modules register the operators.
_CONVOLUTIONS = [DEPTHWISE.name, CAUSAL_CONV.name]
assert scan_native


@register_flop_formula([getattr(_ops, name) for name in _CONVOLUTIONS])
def convolution(x: Shape, weight: Shape, *_: Any, **__: Any) -> int:
    """Count a depth-wise convolution: two operations per tap and feature."""
    return 2 * prod(x) * prod(weight[1:])


@register_flop_formula([getattr(_ops, f"{name}_backward") for name in _CONVOLUTIONS])
def convolution_backward(_: Shape, x: Shape, weight: Shape, *__: Any, **___: Any) -> int:
    """Count the gradients of input and weight."""
    return 2 * convolution(x, weight)


@register_flop_formula(getattr(_ops, GATED_UNIT.name))
def unit(x: Shape, _: Any, __: Any, expand: Shape, weight: Shape, *rest: Any, **___: Any) -> int:
    """Count a gated unit: its convolution and products, two operations per weight and pixel."""
    project = rest[1]
    weights = prod(expand) + prod(weight) + (0 if project is None else prod(project))
    return 2 * prod(x[:3]) * weights


@register_flop_formula(getattr(_ops, f"{GATED_UNIT.name}_backward"))
def unit_backward(_: Shape, *tensors: Any, **__: Any) -> int:
    """Count the unit's gradients as twice the forward; what it computes anew is not counted."""
    return 2 * unit(*tensors)


@register_flop_formula(getattr(_ops, POINTWISE.name))
def pointwise(
    x: Shape, second: Any, weight: Shape, residual: Any, sampling: int, *_: Any, **__: Any
) -> int:
    """Count a pointwise convolution: two operations per weight and position."""
    del second, residual
    positions = prod(x[:3]) // (4 if sampling == 1 else 1)
    return 2 * positions * weight[-2] * weight[-1]


@register_flop_formula(getattr(_ops, f"{POINTWISE.name}_backward"))
def pointwise_backward(_: Shape, *arguments: Any, **__: Any) -> int:
    """Count the gradients of input and weight."""
    return 2 * pointwise(*arguments)


@register_flop_formula(getattr(_ops, GRAM.name))
def gram(x: Shape, *_: Any, **__: Any) -> int:
    """Count the inner products as a full matrix, as PyTorch counts the same product."""
    return 2 * prod(x) * x[-1]


@register_flop_formula(getattr(_ops, f"{GRAM.name}_backward"))
def gram_backward(_: Shape, x: Shape, *__: Any, **___: Any) -> int:
    """Count the gradient of the input, one product."""
    return gram(x)


@register_flop_formula(getattr(_ops, GRAM_ATTENTION.name))
def gram_attention(gram: Shape, out: Shape, *weights: Any, **_: Any) -> int:
    """Count the products with whole matrices and those head by head."""
    c, heads = gram[-1], int(weights[-1][0])
    return 2 * prod(gram) * (2 * c + out[0] + 2 * c // heads)


@register_flop_formula(getattr(_ops, f"{GRAM_ATTENTION.name}_backward"))
def gram_attention_backward(_: Shape, *tensors: Any, **__: Any) -> int:
    """Count the gradients as twice the forward."""
    return 2 * gram_attention(*tensors)


@register_flop_formula(getattr(_ops, TOKEN_ATTENTION.name))
def token_attention(x: Shape, _: Shape, __: Shape, keys: Shape, *___: Any, **____: Any) -> int:
    """Count the products of pixels with keys, values and the matrix."""
    return 2 * prod(x) * (2 * keys[1] + x[-1])


@register_flop_formula(getattr(_ops, f"{TOKEN_ATTENTION.name}_backward"))
def token_attention_backward(_: Shape, *tensors: Any, **__: Any) -> int:
    """Count the gradients as twice the forward."""
    return 2 * token_attention(*tensors)


@register_flop_formula(_ops.selective_scan)
def scan(u: Shape, delta: Shape, A: Shape, *rest: Any, **_: Any) -> int:
    """Count the recurrence, and the product with `delta_weight` where there is one."""
    weight, layout = rest[6], rest[8]
    channels = u[1] if layout == "bdl" else u[-1]
    tokens = prod(u) // max(channels, 1)
    directions = A[0] if layout == "bhwd" else 1
    updates = tokens * directions * channels * A[-1]
    projected = 0 if weight is None else 2 * tokens * prod(weight)
    del delta
    return _PER_UPDATE * updates + projected


@register_flop_formula(_ops.selective_scan_backward)
def scan_backward(_: Shape, __: Shape, ___: Shape, *tensors: Any, **____: Any) -> int:
    """Count the scan's gradients as twice the forward."""
    return 2 * scan(*tensors)
