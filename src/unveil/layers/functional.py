"""Channels-last passes that layers are made of; the fused forms live in `unveil.ops`."""

import torch
import torch.nn.functional as F
from torch import Tensor


def conv2d_last(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve channels-last features, padding with zeros to the same size.

    Args:
        x: ``(b, h, w, c)``.
        weight: ``(c_out, c, s, s)`` with odd s.
        bias: ``(c_out,)``.

    Returns:
        ``(b, h, w, c_out)``, channels-last in memory.

    >>> conv2d_last(torch.zeros(1, 5, 7, 3), torch.zeros(4, 3, 3, 3)).shape
    torch.Size([1, 5, 7, 4])
    """
    # The permuted view of channels-last data is torch's channels_last format: nothing is copied.
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=weight.shape[-1] // 2)
    return y.permute(0, 2, 3, 1)


def split_heads(x: Tensor, heads: int, dim: int = -1) -> Tensor:
    """Split an axis into ``(heads, size / heads)``.

    >>> split_heads(torch.zeros(2, 6), 3).shape
    torch.Size([2, 3, 2])
    """
    split: Tensor = torch.unflatten(x, dim, (heads, -1))
    return split


def pixel_unshuffle_last(x: Tensor, factor: int) -> Tensor:
    """Move ``factor × factor`` neighbourhoods into channels.

    Args:
        x: ``(b, h, w, c)`` with h and w multiples of `factor`.
        factor: 1 or more.

    Returns:
        ``(b, h / factor, w / factor, factor² · c)``.

    >>> pixel_unshuffle_last(torch.zeros(1, 4, 6, 3), 2).shape
    torch.Size([1, 2, 3, 12])
    """
    b, h, w, c = x.shape
    x = x.reshape(b, h // factor, factor, w // factor, factor, c)
    return x.transpose(2, 3).reshape(b, h // factor, w // factor, factor * factor * c)


def pixel_shuffle_last(x: Tensor, factor: int) -> Tensor:
    """Undo `pixel_unshuffle_last`.

    Args:
        x: ``(b, h, w, factor² · c)``.
        factor: 1 or more.

    Returns:
        ``(b, h · factor, w · factor, c)``.

    >>> x = torch.rand(2, 4, 6, 3)
    >>> bool((pixel_shuffle_last(pixel_unshuffle_last(x, 2), 2) == x).all())
    True
    """
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, factor, factor, c // factor**2).transpose(2, 3)
    return x.reshape(b, h * factor, w * factor, c // factor**2)
