"""Samples as a network takes them, and a network's change as samples."""

import numpy as np
import torch
from torch import Tensor

from unveil.imaging.convert import to_unit
from unveil.imaging.image import Array
from unveil.imaging.scratch import release

_ROWS = 256
# Noise reaches beyond [0, 1] and is passed on; a highlight of a thousand would drown the rest.
_BOUNDS = (-1.0, 2.0)


def is_gray(pixels: Array) -> bool:
    """Return whether ``(h, w, c)`` samples have three channels that are equal everywhere.

    >>> is_gray(np.ones((2, 2, 3))), is_gray(np.ones((2, 2, 1)))
    (True, False)
    """
    if pixels.shape[2] != 3:
        return False
    for top in range(0, len(pixels), _ROWS):
        rows = pixels[top : top + _ROWS]
        nan = pixels.dtype.kind == "f"
        if not all(np.array_equal(rows[..., 0], rows[..., c], equal_nan=nan) for c in (1, 2)):
            return False
        release(pixels)
    return True


def to_network(window: Array) -> Tensor:
    """Return ``(h, w, c)`` samples, c 1 or 3, as ``(1, 3, h, w)`` float32.

    Integers are scaled to [0, 1]; floats are taken as they are within [-1, 2], NaN as 0.
    """
    scaled = to_unit(np.ascontiguousarray(window))
    if window.dtype.kind == "f":
        scaled = np.clip(np.nan_to_num(scaled), *_BOUNDS)
    tensor = torch.from_numpy(scaled).permute(2, 0, 1)[None]
    return tensor.expand(1, 3, -1, -1).contiguous()


def to_residual(change: Tensor, channels: int) -> Array:
    """Return a network's change ``(1, 3, h, w)`` as ``(h, w, channels)`` float32; gray averages.

    Args:
        change: ``(1, 3, h, w)``, 1.0 being full scale.
        channels: 1 or 3.
    """
    if channels == 1:
        change = change.mean(1, keepdim=True)
    return np.asarray(change[0].permute(1, 2, 0).float().cpu().numpy())
