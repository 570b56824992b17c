"""The causal convolution in plain PyTorch operations."""

import torch.nn.functional as F
from torch import Tensor


def plain_causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, by_column: bool, reverse: bool
) -> Tensor:
    """Convolve the tokens of (b, h, w, d) in the order they are scanned.

    Args:
        x: (b, h, w, d).
        weight: (d, 1, taps).
        bias: (d,).
        silu: Whether SiLU follows.
        by_column: Whether tokens are taken column by column, not row by row.
        reverse: Whether the last token comes first.
    """
    grid = x.transpose(1, 2) if by_column else x
    tokens = grid.flatten(1, 2)
    tokens = tokens.flip(1) if reverse else tokens
    padded = F.pad(tokens.transpose(1, 2), (weight.shape[-1] - 1, 0))
    y = F.conv1d(padded, weight, bias, groups=x.shape[-1]).transpose(1, 2)
    y = (y.flip(1) if reverse else y).reshape(grid.shape)
    y = y.transpose(1, 2) if by_column else y
    return F.silu(y) if silu else y
