"""Luma as MATLAB's `rgb2ycbcr` computes it, which deraining papers score on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unveil.errors import InputError

# ITU-R BT.601 with footroom and headroom: black is 16/255 and white 235/255 of the range.
_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255
_OFFSET = 16 / 255


def rgb_to_y(image: NDArray[Any], *, data_range: float) -> NDArray[np.float64]:
    """Compute luma Y of an RGB image, on the image's own scale, not rounded.

    MATLAB rounds Y of a uint8 image to whole numbers; take `np.rint` of the result for that.

    Args:
        image: ``(h, w, 3)`` RGB in [0, data_range].
        data_range: Distance between black and white: 255 for uint8, 1 for float images.

    Returns:
        ``(h, w)`` in [16/255, 235/255]·data_range.

    Source: ITU-R BT.601; Y = 16 + 65.481·R + 128.553·G + 24.966·B for RGB in [0, 1], Y in [0, 255].

    Raises:
        InputError: The image has no three channels.

    >>> rgb_to_y(np.full((1, 1, 3), 255, np.uint8), data_range=255)
    array([[235.]])
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"image has shape {image.shape}: luma needs RGB, (h, w, 3)")
    luma: NDArray[np.float64] = np.asarray(image, np.float64) @ _WEIGHTS + _OFFSET * data_range
    return luma
