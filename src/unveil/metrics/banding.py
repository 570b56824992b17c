"""Banding: errors that run along whole rows or columns, as scans leave them in smooth areas."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unveil.errors import InputError
from unveil.metrics._pair import as_float64_pair

# Pixels that a mean is taken over, and the window of the high-pass.
STRIP, WINDOW = 64, 65


def banding(restored: NDArray[Any], clean: NDArray[Any], *, data_range: float) -> float:
    """Measure bands along rows and columns in the error of a smooth area.

    The error, averaged over channels, is cut into strips of 64 rows; each strip's column means are
    freed from what is coarser than 65 pixels by subtracting their moving average, with the ends
    repeated. Strips of 64 columns give row means in the same way. The measure is the mean, over all
    strips, of the root mean square of what is left. Rows or columns that do not fill a strip are
    left out. Noise of a standard deviation of s levels that is independent between pixels gives
    s / 8 (averaged over channels first).

    Args:
        restored: ``(h, w)`` or ``(h, w, c)``, any real dtype; used as it is, in float64.
        clean: Same shape. A side must have 64 pixels.
        data_range: Distance between black and white: 255 for uint8, 1 for float images in [0, 1].

    Returns:
        Levels on the 0–255 scale.

    Raises:
        InputError: The shapes differ, `data_range` is not positive, or both sides are below 64.

    Source:
        Defined here; on the sky of the demo's hazy photograph it tells apart networks that leave
        visible bands.

    >>> sky = np.full((128, 128, 3), 180.0)
    >>> bands = 2 * (np.arange(128) // 4 % 2)[:, None, None]  # rows, one level up and down
    >>> round(banding(sky + bands, sky, data_range=255), 1)
    0.5
    """
    first, second = as_float64_pair(restored, clean, data_range)
    error = (first - second) * (255 / data_range)
    if error.ndim == 3:
        error = error.mean(axis=2)
    if max(error.shape) < STRIP:
        raise InputError(
            f"banding needs a side of {STRIP} pixels: got {error.shape[1]}×{error.shape[0]}"
        )
    strips = [
        _high_pass(across[start : start + STRIP].mean(axis=0))
        for across in (error, error.T)
        for start in range(0, across.shape[0] - STRIP + 1, STRIP)
    ]
    return float(np.mean([np.sqrt(np.mean(np.square(strip))) for strip in strips]))


def _high_pass(line: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(line, WINDOW // 2, mode="edge")
    total = np.concatenate([[0.0], np.cumsum(padded)])
    return np.asarray(line - (total[WINDOW:] - total[:-WINDOW]) / WINDOW)
