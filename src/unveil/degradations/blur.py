"""Blur: a camera that moves during the exposure, and a lens out of focus."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from unveil.degradations.filters import convolve
from unveil.degradations.noise import to_linear, to_srgb
from unveil.degradations.records import Degradation, Image, Parameter

_POINTS = 256
# Channels from here on are taken for clipped: level 250.
_CLIPPED = 250 / 255


def _blur_motion(
    image: Image, rng: np.random.Generator, *, length: float, bend: float, lights: float = 0
) -> Image:
    """Blur by a random trajectory of the camera, in linear light as an exposure does.

    ``I = curve(clip(k * s linear(J)))`` with the kernel ``k`` of `motion_kernel`; edges are
    mirrored. ``s`` is `1 + lights` where a channel of the picture is white, 1 elsewhere: lights and
    highlights are brighter than white, so that they leave bright trails.

    Source:
        Boracchi and Foi, "Modeling the performance of image restoration from motion blur", IEEE
        TIP 2012, for the trajectories; Rim et al., "Realistic blur synthesis for learning image
        deblurring", ECCV 2022, for the saturated lights.

    >>> gray = np.full((9, 9, 3), 0.5, np.float32)
    >>> blurred = _blur_motion(gray, np.random.default_rng(0), length=5, bend=0.5)
    >>> bool(np.allclose(blurred, gray, atol=1e-5))
    True
    """
    linear = to_linear(image)
    if lights > 0:
        clipped = np.max(image, axis=2, keepdims=True) >= _CLIPPED
        linear = np.where(clipped, linear * np.float32(1 + lights), linear)
    return to_srgb(convolve(linear, motion_kernel(rng, length, bend)))


def motion_kernel(rng: np.random.Generator, length: float, bend: float) -> NDArray[np.float32]:
    """Draw the path of a point during an exposure.

    The direction performs a random walk and the speed varies, so that some places get more light.

    Args:
        rng: Source of randomness.
        length: Length of the path, pixels.
        bend: Standard deviation of the direction's change over the path, in half turns.

    Returns:
        (n, n), n odd, non-negative, sum 1, its centre of mass in the middle to within a pixel.

    >>> kernel = motion_kernel(np.random.default_rng(0), 15, 0)
    >>> kernel.shape[0] % 2, round(float(kernel.sum()), 5)
    (1, 1.0)
    """
    turns = rng.standard_normal(_POINTS) * (np.pi * bend / np.sqrt(_POINTS))
    direction = rng.uniform(0, 2 * np.pi) + np.cumsum(turns)
    speed = np.exp(np.cumsum(rng.standard_normal(_POINTS)) * (0.8 / np.sqrt(_POINTS)))
    speed *= length / speed.sum()
    path = np.cumsum(speed * np.exp(1j * direction))
    path -= path.mean()
    radius = int(np.ceil(max(np.abs(path.real).max(), np.abs(path.imag).max()))) + 1
    size = 2 * radius + 1
    x, y = path.real + radius, path.imag + radius
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, down = x - column, y - row
    kernel = np.zeros(size * size)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (down if dy else 1 - down) * (right if dx else 1 - right)
        kernel += np.bincount((row + dy) * size + column + dx, weight, minlength=size * size)
    return np.asarray(kernel.reshape(size, size) / _POINTS, dtype=np.float32)


def _blur_defocus(image: Image, rng: np.random.Generator, *, radius: float) -> Image:  # noqa: ARG001
    """Blur by a disc, the image of a point out of focus, in linear light; edges are mirrored.

    Source: The circle of confusion of geometrical optics.

    >>> point = np.zeros((9, 9, 3), np.float32)
    >>> point[4, 4] = 1
    >>> disc = to_linear(_blur_defocus(point, np.random.default_rng(0), radius=2))
    >>> bool(abs(disc[..., 0].sum() - 1) < 1e-3), int((disc[..., 0] > 0.01).sum())
    (True, 21)
    """
    return to_srgb(convolve(to_linear(image), disc_kernel(radius)))


def disc_kernel(radius: float) -> NDArray[np.float32]:
    """Draw a disc of `radius` pixels whose edge covers pixels in part.

    Returns:
        (n, n), n odd, non-negative, sum 1.

    >>> disc_kernel(0.0).tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    reach = int(np.ceil(radius)) + 1
    # Coverage is counted on an 8 x 8 grid in each pixel.
    fine = (np.arange(8 * (2 * reach + 1)) + 0.5) / 8 - 0.5 - reach
    inside = (np.hypot(fine[:, None], fine) <= max(radius, 0.3)).astype(np.float64)
    cover = inside.reshape(2 * reach + 1, 8, 2 * reach + 1, 8).sum(axis=(1, 3))
    return np.asarray(cover / cover.sum(), dtype=np.float32)


def _motion_reach(values: Mapping[str, float]) -> float:
    # The path's centre of mass is at least a third of its length from either end as a rule.
    return 0.65 * values["length"] + 2


def _defocus_reach(values: Mapping[str, float]) -> float:
    return values["radius"] + 1


BLUR = (
    Degradation(
        "blur:motion",
        _blur_motion,
        (
            Parameter("length", 15, 0, 200, "length of the trajectory, pixels"),
            Parameter("bend", 0.4, 0, 1, "0 straight to 1 shaky"),
            Parameter("lights", 0, 0, 50, "light of clipped pixels above white, in times white"),
        ),
        about="a camera that moves during the exposure",
        strengths=("length=7", "length=15", "length=31"),
        reach=_motion_reach,
    ),
    Degradation(
        "blur:defocus",
        _blur_defocus,
        (Parameter("radius", 3, 0, 50, "radius of the disc, pixels"),),
        about="a lens out of focus",
        strengths=("radius=1.5", "radius=3", "radius=6"),
        reach=_defocus_reach,
    ),
)
