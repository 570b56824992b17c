"""What PyTorch's FLOP counter adds for Mamba-2's scan; see `unveil.ops._flops`."""

from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from unveil.ops._flops import Shape
from unveil.ops.ssd import native
from unveil.ops.ssd.chunked import CHUNK

_ops: Any = torch.ops.unveil
# Its module registers the operators.
assert native


@register_flop_formula(_ops.ssd)
def ssd(x: Shape, dt: Shape, A: Shape, B: Shape, *_: Any, **__: Any) -> int:
    """Count the four products of a chunk; the heads of a group share one of them, C Bᵀ."""
    del dt, A
    batch, tokens, heads, width = x
    groups, states = B[2:]
    chunks, left = divmod(tokens, CHUNK)
    pairs = chunks * CHUNK**2 + left**2
    within = pairs * (groups * states + heads * width)
    return 2 * batch * (within + 2 * tokens * heads * width * states)


@register_flop_formula(_ops.ssd_backward)
def ssd_backward(_: Shape, __: Shape, ___: Shape, *tensors: Any, **____: Any) -> int:
    """Count the scan's gradients as twice the forward; what it computes anew is not counted."""
    return 2 * ssd(*tensors)
