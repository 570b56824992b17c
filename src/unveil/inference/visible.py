"""Restore what can be seen of an image: colours where alpha is 0 do not matter, and stay.

The network is given the visible part, continued over the hidden one by mirroring each row at its
last visible pixel. So hidden colours make no border and do not enter its statistics.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unveil.imaging.image import Array
from unveil.imaging.scratch import allocate, release

_ROWS = 256

# Writes what becomes of ``(h, w, c)`` samples into an array of the same shape.
RestoreInto = Callable[[Array, Array], None]


@dataclass(frozen=True)
class Visible:
    """The part of an image that can be seen.

    Attributes:
        pixels: ``(h, w, c)`` samples of the smallest box around it, hidden ones filled.
        box: Rows and columns of the box in the image.
        seen: ``(h, w)``, False where a pixel of the box is hidden.
    """

    pixels: Array
    box: tuple[slice, slice]
    seen: Array

    def put(self, made: Array, out: Array) -> None:
        """Copy what was made of `pixels` to where it can be seen in the image `out`.

        Args:
            made: ``(h, w, c)`` results of the box.
            out: ``(h, w, c)`` result of the image.
        """
        target = out[self.box]
        for top in range(0, len(made), _ROWS):
            rows = slice(top, top + _ROWS)
            np.copyto(target[rows], made[rows], where=self.seen[rows][..., None])
            release(out)


def visible_part(pixels: Array, alpha: Array | None) -> Visible | None:
    """Return the visible part of an image; None when all of it can be seen, or nothing.

    Args:
        pixels: ``(h, w, c)`` samples.
        alpha: ``(h, w)``; 0 where a pixel is hidden. None hides nothing.
    """
    if alpha is None:
        return None
    seen = alpha > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if seen.all() or not len(rows):
        return None
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Visible(_continued(pixels[box], seen[box]), box, seen[box])


def restore_visible(
    pixels: Array, alpha: Array | None, restore: RestoreInto, out: Array, rest: Array | None
) -> None:
    """Restore what can be seen of an image.

    Args:
        pixels: ``(h, w, c)`` samples.
        alpha: ``(h, w)``, or None.
        restore: Writes what becomes of samples.
        out: Of the shape of `pixels`.
        rest: What stands in `out` where nothing can be seen; None leaves it as it is.
    """
    part = visible_part(pixels, alpha)
    if part is None and (alpha is None or alpha.any()):
        restore(pixels, out)
        return
    if rest is not None:
        out[...] = rest
    if part is not None:
        made = allocate(part.pixels.shape, out.dtype)
        restore(part.pixels, made)
        part.put(made, out)


def _continued(pixels: Array, seen: Array) -> Array:
    """Fill hidden pixels by those of their row, mirrored; hidden rows by the nearest others."""
    height, width, _ = pixels.shape
    out = allocate(pixels.shape, pixels.dtype)
    shown = np.flatnonzero(seen.any(1))
    for top in range(0, height, _ROWS):
        rows = np.arange(top, min(top + _ROWS, height))
        after = np.searchsorted(shown, rows).clip(0, len(shown) - 1)
        before = np.maximum(after - 1, 0)
        nearer = rows - shown[before] < shown[after] - rows
        taken = np.where(nearer, shown[before], shown[after])
        columns = _mirrored(seen[taken], width)
        out[rows] = np.take_along_axis(pixels[taken], columns[..., None], axis=1)
        release(pixels)
        release(out)
    return out


def _mirrored(seen: Array, width: int) -> Array:
    """Return for each pixel of rows the column of a visible one: its own, or its mirror image."""
    far = 2 * width
    here = np.arange(width)
    left = np.maximum.accumulate(np.where(seen, here, -far), axis=1)
    right = np.minimum.accumulate(np.where(seen, here, far)[:, ::-1], axis=1)[:, ::-1]
    nearest = np.where(here - left <= right - here, left, right)
    mirror = (2 * nearest - here).clip(0, width - 1)
    return np.where(np.take_along_axis(seen, mirror, axis=1), mirror, nearest)
