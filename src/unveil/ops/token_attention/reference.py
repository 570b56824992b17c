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
    """Run it; arguments as `token_attention`, already checked."""
    scores: Tensor = torch.unflatten(pointwise_conv(y, keys), -1, (heads, -1))
    weights = scores.softmax(-1).flatten(-2)
    # Each product adds what comes before it: no sum is a pass of its own.
    attended = pointwise_conv(weights, values, x * gain[:, None, None])
    return pointwise_conv(y, matrix, attended)
