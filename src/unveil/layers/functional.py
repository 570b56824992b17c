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

    Args:
        x: Any shape.
        heads: Divides the axis.
        dim: The axis.

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


def cell_sums(x: Tensor, cells: int, places: Tensor | None = None) -> Tensor:
    """Sum features over the cells of a grid laid over the image, weighted by area.

    Args:
        x: ``(b, h, w, c)``.
        cells: Cells along each axis.
        places: Where in the image each sample lies, ``(b, 4)``: top, bottom, left, right, as shares
            of its height and width; None: every sample is the whole image.

    Returns:
        ``(b, cells², c + 1)``: each cell's sum and, last, the area summed over, as a share of the
        image's. Sums of an image's parts, added up, are those of the image.

    >>> halves = torch.tensor([[0, 0.5, 0, 1], [0.5, 1, 0, 1]])
    >>> cell_sums(torch.ones(2, 3, 5, 1), 2, halves)[..., 1]
    tensor([[0.2500, 0.2500, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.2500, 0.2500]])
    """
    b, h, w, c = x.shape
    if places is None:
        places = x.new_tensor([[0.0, 1.0, 0.0, 1.0]])
    top, bottom, left, right = places.to(x).unbind(-1)
    down, across = _overlaps(top, bottom, h, cells), _overlaps(left, right, w, cells)
    rows = torch.matmul(down, x.reshape(b, h, w * c)).view(b, cells, w, c)
    sums = torch.einsum("bgwc,bkw->bgkc", rows, across.expand(b, -1, -1))
    area = down.sum(-1)[:, :, None, None] * across.sum(-1)[:, None, :, None]
    return torch.cat([sums, area.expand(b, -1, -1, -1)], -1).flatten(1, 2)


def _overlaps(start: Tensor, end: Tensor, length: int, cells: int) -> Tensor:
    """Return how much of each cell each pixel from start to end covers, ``(b, cells, length)``."""
    pixels = torch.arange(length + 1, dtype=start.dtype, device=start.device) / length
    pixels = (start[:, None] + (end - start)[:, None] * pixels)[:, None]
    edges = torch.linspace(0, 1, cells + 1, dtype=start.dtype, device=start.device)[:, None]
    upper = torch.minimum(pixels[..., 1:], edges[1:])
    lower = torch.maximum(pixels[..., :-1], edges[:-1])
    return (upper - lower).clamp(min=0)
