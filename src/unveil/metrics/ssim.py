"""Structural similarity, with the two windows that papers use."""

from collections.abc import Callable
from typing import Any, Literal

from numpy.typing import NDArray

from unveil.errors import InputError, MissingExtraError
from unveil.metrics._pair import as_float64_pair
from unveil.metrics.luma import rgb_to_y

Window = Literal["gaussian", "uniform"]

_WINDOWS: dict[str, dict[str, Any]] = {
    # truncate 3.5 (scikit-image's) · 1.5 makes the 11-wide window of the 2004 paper.
    "gaussian": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    "uniform": {"win_size": 7, "gaussian_weights": False, "use_sample_covariance": True},
}
_WIDTHS = {"gaussian": 11, "uniform": 7}


def _structural_similarity() -> Callable[..., float]:
    try:
        from skimage import metrics  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("SSIM", "eval") from error
    function: Callable[..., float] = metrics.structural_similarity
    return function


def ssim(
    restored: NDArray[Any],
    clean: NDArray[Any],
    *,
    data_range: float,
    window: Window = "gaussian",
) -> float:
    """Compute the mean SSIM of one image; channels are scored alone and averaged.

    Args:
        restored: ``(h, w)`` or ``(h, w, c)``, any real dtype; computed in float64.
        clean: Same shape.
        data_range: Distance between black and white: 255 for uint8, 1 for float images in [0, 1].
        window: ``"gaussian"`` (11×11, standard deviation 1.5, population covariance: the paper's
            MATLAB code) or ``"uniform"`` (7×7, sample covariance: scikit-image's defaults).

    Returns:
        Mean over the pixels whose window lies inside the image, at most 1.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity",
        IEEE TIP 13(4), 2004, eq. 13.

    Raises:
        InputError: The shapes differ, the image is smaller than the window, or `data_range` is not
            positive.
        MissingExtraError: scikit-image is not installed.

    >>> import numpy as np
    >>> image = np.linspace(0, 1, 400).reshape(20, 20)
    >>> ssim(image, image, data_range=1)
    1.0
    """
    first, second = as_float64_pair(restored, clean, data_range)
    if window not in _WINDOWS:
        raise InputError(f"window is {window!r}: expected one of {', '.join(_WINDOWS)}")
    if min(clean.shape[:2]) < _WIDTHS[window]:
        size = " by ".join(str(side) for side in clean.shape[:2])
        raise InputError(f"image is {size} pixels: SSIM needs at least {_WIDTHS[window]} each way")
    channel_axis = 2 if clean.ndim == 3 else None
    return float(
        _structural_similarity()(
            second, first, data_range=data_range, channel_axis=channel_axis, **_WINDOWS[window]
        )
    )


def ssim_y(
    restored: NDArray[Any],
    clean: NDArray[Any],
    *,
    data_range: float,
    window: Window = "gaussian",
) -> float:
    """Compute the SSIM of luma (`rgb_to_y`, not rounded).

    Args:
        restored: ``(h, w, 3)`` RGB in [0, data_range].
        clean: Same shape.
        data_range: Distance between black and white of the RGB images.
        window: As in `ssim`.

    Returns:
        Mean SSIM, at most 1.

    Raises:
        InputError: As `ssim`, or the images are not RGB.
        MissingExtraError: scikit-image is not installed.

    >>> import numpy as np
    >>> image = np.random.default_rng(0).random((16, 16, 3))
    >>> ssim_y(image, image, data_range=1)
    1.0
    """
    return ssim(
        rgb_to_y(restored, data_range=data_range),
        rgb_to_y(clean, data_range=data_range),
        data_range=data_range,
        window=window,
    )
