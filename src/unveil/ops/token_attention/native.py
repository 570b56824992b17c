"""Binding of the native attention to tokens: the forward without gradients."""

import torch
from torch import Tensor

from unveil.ops._fused import POINTER, SIZE, address, function, ready

# The kernel writes whole vectors, in the widest instruction set of so many floats.
LANES = 16


def forward(
    x: Tensor,
    y: Tensor,
    gain: Tensor,
    keys: Tensor,
    values: Tensor,
    matrix: Tensor,
    heads: int,
) -> Tensor:
    """Run the kernel on tensors that `token_attention` has checked.

    Args:
        x: Features (b, h, w, c).
        y: Shaped as x.
        gain: Factors of x, (b, c) or (1, c).
        keys: (b, t, c) or (1, t, c).
        values: (b, c, t) or (1, c, t).
        matrix: (b, c, c) or (1, c, c).
        heads: Heads that share the t tokens.

    Returns:
        Shaped and typed as x.
    """
    given = [ready(t) for t in (x, y, gain, keys, values, matrix)]
    (b, h, w, c), out = x.shape, torch.empty_like(given[0])
    function("token_attention", *(POINTER,) * 7, *(SIZE,) * 6)(
        *map(address, (*given, out)), b, h * w, c, keys.shape[1], heads, keys.shape[0]
    )
    return out if out.dtype is x.dtype else out.to(x.dtype)
