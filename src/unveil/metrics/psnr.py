"""Peak signal-to-noise ratio."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unveil.metrics._pair import as_float64_pair
from unveil.metrics.luma import rgb_to_y


def psnr(restored: NDArray[Any], clean: NDArray[Any], *, data_range: float) -> float:
    """Compute the PSNR of one image over all its pixels and channels.

    Args:
        restored: ``(h, w)`` or ``(h, w, c)``, any real dtype; used as it is, in float64.
        clean: Same shape.
        data_range: Distance between black and white: 255 for uint8, 1 for float images in [0, 1].

    Returns:
        10·log10(data_range² / MSE) in dB; infinity for equal images, NaN if a value is not finite.

    Raises:
        InputError: The shapes differ or `data_range` is not positive.

    >>> clean = np.zeros((4, 4, 3))
    >>> psnr(clean + 0.1, clean, data_range=1)
    20.0
    """
    first, second = as_float64_pair(restored, clean, data_range)
    error = float(np.mean(np.square(first - second)))
    if error == 0:
        return math.inf
    return 10 * math.log10(data_range**2 / error) if math.isfinite(error) else math.nan


def psnr_y(restored: NDArray[Any], clean: NDArray[Any], *, data_range: float) -> float:
    """Compute the PSNR of luma (`rgb_to_y`, not rounded), with the RGB image's peak.

    Args:
        restored: ``(h, w, 3)`` RGB in [0, data_range].
        clean: Same shape.
        data_range: Distance between black and white of the RGB images.

    Returns:
        PSNR in dB.

    Raises:
        InputError: The shapes differ or are not RGB, or `data_range` is not positive.

    >>> clean = np.zeros((4, 4, 3))
    >>> round(psnr_y(clean + 0.1, clean, data_range=1), 2)
    21.32
    """
    return psnr(
        rgb_to_y(restored, data_range=data_range),
        rgb_to_y(clean, data_range=data_range),
        data_range=data_range,
    )
