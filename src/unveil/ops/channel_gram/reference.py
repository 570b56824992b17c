"""Inner products of channels in plain PyTorch operations."""

import torch
from torch import Tensor


def plain_gram(x: Tensor) -> Tensor:
    """Return ``(b, c, c)`` as `channel_gram`."""
    rows = x.flatten(1, 2)
    return torch.bmm(rows.transpose(1, 2), rows) / rows.shape[1]
