"""Cut windows out of photos, mirrored at the borders, and shrink and degrade them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unveil.degradations import Frame, Pipeline
from unveil.imaging.convert import to_unit

FloatImage = NDArray[np.float32]


def cut(photo: NDArray[Any], top: int, left: int, height: int, width: int) -> NDArray[Any]:
    """Cut a window that may reach beyond the photo, which is mirrored there.

    Args:
        photo: ``(h, w, c)``.
        top: First row; may be negative.
        left: First column; may be negative.
        height: Rows of the window.
        width: Columns of the window.

    Returns:
        (height, width, c); a view where the window lies within the photo.

    >>> cut(np.arange(3)[:, None, None], -2, 0, 7, 1).ravel().tolist()
    [1, 0, 0, 1, 2, 2, 1]
    """
    rows, columns = photo.shape[:2]
    if top >= 0 and left >= 0 and top + height <= rows and left + width <= columns:
        return photo[top : top + height, left : left + width]
    down = _mirrored(np.arange(top, top + height), rows)
    right = _mirrored(np.arange(left, left + width), columns)
    return np.asarray(photo[down[:, None], right])


def _mirrored(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    wrapped = index % (2 * size)
    return np.asarray(np.where(wrapped < size, wrapped, 2 * size - 1 - wrapped))


def degrade_window(
    photo: NDArray[Any],
    pipeline: Pipeline,
    rng: np.random.Generator,
    corner: tuple[int, int],
    size: tuple[int, int],
    truth: NDArray[Any] | None = None,
) -> tuple[FloatImage, FloatImage]:
    """Degrade a window as a part of its photo.

    The window is degraded with the pipeline's margin around it, which is cut off after. The margin
    is a multiple of 8, so that a window begins on JPEG's block grid as whole photos do.

    Args:
        photo: ``(h, w, 3)``, any type.
        pipeline: What to do.
        rng: Source of randomness.
        corner: First row and column of the window.
        size: Rows and columns of the window.
        truth: Same shape as the photo, where that is degraded already; None takes the photo.

    Returns:
        The window degraded, and its truth with what steps of side ``both`` did to it; each
        (rows, columns, 3).
    """
    margin = pipeline.margin
    top, left = corner[0] - margin, corner[1] - margin
    whole = size[0] + 2 * margin, size[1] + 2 * margin
    window = to_unit(cut(photo, top, left, *whole))
    clean = None if truth is None else to_unit(cut(truth, top, left, *whole))
    frame = Frame(top, left, photo.shape[0], photo.shape[1])
    degraded, clean = pipeline.pair(window, rng, frame, truth=clean)
    rows, columns = slice(margin, margin + size[0]), slice(margin, margin + size[1])
    return degraded[rows, columns], clean[rows, columns]


def degrade_shrunk(
    photo: NDArray[Any],
    pipeline: Pipeline,
    rng: np.random.Generator,
    factor: float,
    side: int,
) -> tuple[FloatImage, FloatImage]:
    """Shrink a clean photo and degrade a random square of it, as a part of the smaller photo.

    Only what lies under the square is shrunk.

    Args:
        photo: ``(h, w, 3)``, any type, clean.
        pipeline: What to do to the shrunken photo.
        rng: Source of randomness.
        factor: By which to shrink, 1 or more; less where the square would not fit the photo.
        side: Of the square, in pixels of the shrunken photo.

    Returns:
        The square degraded and clean, each (side, side, 3).
    """
    height, width = photo.shape[:2]
    factor = max(1.0, min(factor, height / side, width / side))
    rows, columns = max(side, round(height / factor)), max(side, round(width / factor))
    top, left = (int(rng.integers(size - side + 1)) for size in (rows, columns))
    margin = pipeline.margin
    whole = side + 2 * margin
    first, start = (round((corner - margin) * factor) for corner in (top, left))
    window = to_unit(cut(photo, first, start, round(whole * factor), round(whole * factor)))
    frame = Frame(top - margin, left - margin, rows, columns)
    degraded, clean = pipeline.pair(_shrink(window, whole), rng, frame)
    inner = slice(margin, margin + side)
    return degraded[inner, inner], clean[inner, inner]


def _shrink(image: FloatImage, side: int) -> FloatImage:
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    smaller = torch.nn.functional.interpolate(
        tensor, (side, side), mode="bilinear", antialias=True, align_corners=False
    )
    return np.ascontiguousarray(smaller[0].numpy().transpose(1, 2, 0))
