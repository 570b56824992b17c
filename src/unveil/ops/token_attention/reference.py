"""Attention to a few tokens in plain PyTorch operations."""

import torch
from torch import Tensor

from unveil.ops.pointwise_conv import pointwise_conv


def plain_token_attention(
    x: Tensor,
    y: Tensor,
    gain: Tensor,
    keys: Tensor,
    values: Tensor,
    matrix: Tensor,
    heads: int,
) -> Tensor:
    """Let pixels attend to tokens, on tensors that `token_attention` has checked.

    Args:
        x: Features (b, h, w, c).
        y: Shaped as x.
        gain: Factors of x, (b, c) or (1, c).
        keys: (b, t, c) or (1, t, c).
        values: (b, c, t) or (1, c, t).
        matrix: (b, c, c) or (1, c, c).
        heads: Heads that share the t tokens.

    Returns:
        Shaped as x.
    """
    scores: Tensor = torch.unflatten(pointwise_conv(y, keys), -1, (heads, -1))
    weights = scores.softmax(-1).flatten(-2)
    # Each product adds what comes before it: no sum is a pass of its own.
    attended = pointwise_conv(weights, values, x * gain[:, None, None])
    return pointwise_conv(y, matrix, attended)
