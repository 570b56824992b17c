"""The check that both metrics make before they compute."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unveil.errors import InputError


def as_float64_pair(
    restored: NDArray[Any], clean: NDArray[Any], data_range: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both images as float64 after checking that they can be compared.

    Args:
        restored: ``(h, w)`` or ``(h, w, c)``, any real dtype.
        clean: Same shape as `restored`.
        data_range: Distance between black and white.

    Raises:
        InputError: The shapes differ or are no image's, or `data_range` is not positive.
    """
    if restored.shape != clean.shape:
        raise InputError(
            f"restored has shape {restored.shape} and clean {clean.shape}: they must be equal"
        )
    if clean.ndim not in (2, 3) or clean.size == 0:
        raise InputError(f"images have shape {clean.shape}: expected (h, w) or (h, w, c)")
    if not data_range > 0:
        raise InputError(f"data_range is {data_range}: give the distance from black to white")
    return np.asarray(restored, np.float64), np.asarray(clean, np.float64)
