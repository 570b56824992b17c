"""Rain streaks of several depths, drawn one by one."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unveil.degradations.records import Image

# A streak's cross-section is a Gaussian, sampled out to where it has fallen to 4 %.
_FWHM = 2 * np.sqrt(2 * np.log(2))
_CUT = 2.5
# Narrower streaks would alias: they are drawn this wide and fainter.
_NARROWEST = 0.45
# Lengths vary evenly up to this multiple of the mean.
_LONGEST = 1.6
Floats = NDArray[np.float64]


class Streaks(NamedTuple):
    """Centre (x, y), half length, Gaussian sigma, direction and light of every streak."""

    x: Floats
    y: Floats
    half: Floats
    sigma: Floats
    sine: Floats
    cosine: Floats
    light: Floats


def scatter_streaks(
    shape: tuple[int, int],
    rng: np.random.Generator,
    density: float,
    direction: tuple[float, float],
    size: tuple[float, float],
    depth: float,
    brightness: float,
) -> Streaks:
    """Place streaks at random on the image and around it, as far as one can reach in.

    Args:
        shape: (h, w).
        rng: Source of randomness.
        density: Streaks that cover a pixel, on average.
        direction: Mean angle in degrees from vertical and its standard deviation.
        size: Length and width of the nearest streaks, pixels.
        depth: Distance of the farthest drops over that of the nearest.
        brightness: Mean light of a streak's centre line.

    Returns:
        The streaks, their number drawn from a Poisson law.
    """
    length, width = size
    margin = 0.5 * _LONGEST * length + _CUT * width
    area = (shape[0] + 2 * margin) * (shape[1] + 2 * margin)
    # The mean of 1/z^2 over a volume in which z^2 dz is uniform, for the mean area of a streak.
    mean_area = length * width * 3 * (depth - 1) / (depth**3 - 1) if depth > 1 else length * width
    count = int(rng.poisson(density * area / mean_area))
    z = (1 + rng.random(count) * (depth**3 - 1)) ** (1 / 3)
    theta = np.deg2rad(np.clip(rng.normal(*direction, count), -75, 75))
    sigma = width / z / _FWHM
    drawn = np.maximum(sigma, _NARROWEST)
    # Near drops move through more pixels during the exposure, so that each gets less light.
    light = brightness * rng.gamma(2.5, 1 / 2.5, count) * np.minimum(z / np.sqrt(depth), 1) ** 0.5
    return Streaks(
        x=rng.uniform(-margin, shape[1] + margin, count),
        y=rng.uniform(-margin, shape[0] + margin, count),
        half=0.5 * length / z * rng.uniform(2 - _LONGEST, _LONGEST, count),
        sigma=drawn,
        sine=np.sin(theta),
        cosine=np.cos(theta),
        light=light * sigma / drawn,
    )


def _visible(shape: tuple[int, int], streaks: Streaks) -> Streaks:
    """Keep the streaks whose bounding box meets the image, the narrowest first."""
    height, width = shape
    down = streaks.half * streaks.cosine + _CUT * streaks.sigma
    right = streaks.half * np.abs(streaks.sine) + _CUT * streaks.sigma
    meets = (np.abs(streaks.y - (height - 1) / 2) <= (height - 1) / 2 + down) & (
        np.abs(streaks.x - (width - 1) / 2) <= (width - 1) / 2 + right
    )
    order = np.flatnonzero(meets)
    order = order[np.argsort(streaks.sigma[order] / streaks.cosine[order], kind="stable")]
    return Streaks(*(values[order] for values in streaks))


def draw_streaks(shape: tuple[int, int], streaks: Streaks) -> Image:
    """Sum the streaks' light, each evaluated at the pixels' centres near its line.

    Args:
        shape: (h, w).
        streaks: From `scatter_streaks`.

    Returns:
        (h, w).
    """
    streaks = _visible(shape, streaks)
    height, width = shape
    total = np.zeros(height * width, np.float64)
    # All streaks of a group are given the columns that its widest one needs.
    for group in np.array_split(np.arange(streaks.x.size), 1 + min(streaks.x.size // 48, 3)):
        place, light = _splat(shape, Streaks(*(values[group] for values in streaks)))
        total += np.bincount(place, weights=light, minlength=total.size)
    return total.reshape(shape).astype(np.float32)


def _splat(shape: tuple[int, int], streaks: Streaks) -> tuple[NDArray[np.int64], Image]:
    """Evaluate streaks; the flat places may repeat.

    A streak is handled as a run of rows, with a few columns around the line in each row; the runs
    of all streaks are laid end to end, so that no loop over streaks is needed.
    """
    height, width = shape
    rise = streaks.half * streaks.cosine + _CUT * streaks.sigma * np.abs(streaks.sine)
    first = np.maximum(np.ceil(streaks.y - rise), 0).astype(np.int64)
    last = np.minimum(np.floor(streaks.y + rise), height - 1).astype(np.int64)
    rows = np.maximum(last - first + 1, 0)
    streak = np.repeat(np.arange(rows.size), rows)
    y = np.arange(streak.size) + (first - (np.cumsum(rows) - rows))[streak]
    s = Streaks(*(values.astype(np.float32)[streak] for values in streaks))
    dy = y.astype(np.float32) - s.y
    slope = s.sine / s.cosine
    reach = _CUT * float((streaks.sigma / streaks.cosine).max(initial=0))
    columns = np.arange(-int(reach), int(reach) + 2, dtype=np.float32)[:, None]
    x = np.floor(s.x + dy * slope) + columns
    dx = x - s.x
    across = (dx - dy * slope) * (s.cosine / s.sigma)
    along = (dx * s.sine + dy * s.cosine) / s.half
    # Ends fade as the shutter opens and closes while the drop moves.
    light = np.exp(-0.5 * across * across) * np.clip(1 - along * along, 0, 1) * s.light
    light[(x < 0) | (x >= width)] = 0
    place = y * width + np.clip(x, 0, width - 1).astype(np.int64)
    return place.ravel(), light.ravel()
