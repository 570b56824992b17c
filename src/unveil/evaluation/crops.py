"""Crops of the largest error: degraded | restored | clean."""

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unveil.evaluation.images import EvaluationImage
from unveil.evaluation.protocols import Image
from unveil.imaging import save_png
from unveil.imaging.convert import to_uint8

_SIDE = 112
_GAP = 4


def crop_path(output: Path, case: str, name: str) -> Path:
    """Name the file that holds an image's crop.

    Args:
        output: Folder of the evaluation.
        case: Key of the case.
        name: Of the image.
    """
    # Degradations and image names hold characters that file systems refuse.
    key = hashlib.sha256(os.fsencode(f"{case}\0{name}")).hexdigest()[:16]
    return output / "crops" / f"{key}.png"


def save_crop(output: Path, case: str, sample: EvaluationImage, restored: Image) -> None:
    """Save the window where `restored` is furthest from clean, beside input and target.

    Args:
        output: Folder of the evaluation.
        case: Key of the case.
        sample: The test image.
        restored: What was made of it.
    """
    path = crop_path(output, case, sample.name)
    path.parent.mkdir(exist_ok=True)
    window = worst_window(restored, sample.clean, _SIDE)
    save_png(path, _strip([image[window] for image in (sample.degraded, restored, sample.clean)]))


def worst_window(restored: Image, clean: Image, side: int) -> tuple[slice, slice]:
    """Find the square window with the largest squared error.

    Args:
        restored: ``(h, w, 3)``.
        clean: Same shape.
        side: Of the window, in pixels; smaller images are taken whole.

    Returns:
        Rows and columns, on a grid of a quarter of `side` or at the lower or right rim.

    >>> clean = np.zeros((64, 64, 3), np.float32)
    >>> restored = clean.copy()
    >>> restored[40:, 40:] = 1
    >>> worst_window(restored, clean, 16)
    (slice(40, 56, None), slice(40, 56, None))
    """
    error = np.square(np.clip(restored, 0, 1) - clean).sum(axis=2, dtype=np.float64)
    height, width = (min(side, length) for length in error.shape)
    sums = np.pad(error, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width]
    boxes = boxes + sums[:-height, :-width]
    # A grid, and the rim it does not reach.
    tops, lefts = ([*range(0, size - 1, side // 4), size - 1] for size in boxes.shape)
    # The sums carry rounding errors, which would choose among equal windows.
    chosen = np.round(boxes[np.ix_(tops, lefts)], 6)
    row, column = np.unravel_index(np.argmax(chosen), chosen.shape)
    top, left = tops[row], lefts[column]
    return slice(top, top + height), slice(left, left + width)


def _strip(images: list[Image]) -> NDArray[np.uint8]:
    pixels = [to_uint8(image) for image in images]
    gap = np.full((pixels[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([pixels[0], gap, pixels[1], gap, pixels[2]], axis=1)
