"""Rain: streaks of several depths, drawn one by one, and a veil."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unveil.degradations.fields import smooth_field
from unveil.degradations.records import Degradation, Frame, Image, Parameter, Span

# A streak's cross-section is a Gaussian, sampled out to where it has fallen to 4 %.
_FWHM = 2 * np.sqrt(2 * np.log(2))
_CUT = 2.5
# Narrower streaks would alias: they are drawn this wide and fainter.
_NARROWEST = 0.45
# Lengths vary evenly up to this multiple of the mean.
_LONGEST = 1.6
# The light of the drops themselves and of the mist behind them: an overcast sky.
_SKY = np.array([0.86, 0.88, 0.90], np.float32)

Floats = NDArray[np.float64]


class _Streaks(NamedTuple):
    """Centre (x, y), half length, Gaussian sigma, direction and light of every streak."""

    x: Floats
    y: Floats
    half: Floats
    sigma: Floats
    sine: Floats
    cosine: Floats
    light: Floats


def add_rain(
    image: Image,
    rng: np.random.Generator,
    *,
    frame: Frame | None = None,
    density: float,
    angle: float,
    spread: float,
    length: float,
    width: float,
    depth: float,
    brightness: float,
    veil: float,
) -> Image:
    """Add rain streaks and a veil: ``O = (1 - v)(J + S) + v * A``, clipped to [0, 1].

    ``S`` sums the light of streaks whose number follows a Poisson law and whose places are
    uniform, so that a crop has the statistics of its photo. A drop at distance ``z`` (1 the
    nearest, `depth` the farthest, as many per volume everywhere, so more the farther) draws a
    streak ``1 / z`` as long and wide. ``v`` varies slowly over the photo around `veil`; ``A`` is
    the light of an overcast sky.

    Args:
        image: (h, w, 3) in [0, 1].
        rng: Source of randomness.
        frame: Where the image sits in its photo; None where it is the whole photo.
        density: Streaks that cover a pixel, on average.
        angle: Mean direction in degrees from vertical; positive falls to the right.
        spread: Standard deviation of the direction among streaks, degrees.
        length: Length of the nearest streaks, pixels.
        width: Width of the nearest streaks (half maximum), pixels.
        depth: Distance of the farthest drops over that of the nearest.
        brightness: Mean light of a streak's centre line, before overlaps add up.
        veil: Mean share of the mist's light in each pixel.

    Returns:
        (h, w, 3) in [0, 1].

    Source:
        The additive model of Yang et al., CVPR 2017 (arXiv 1609.07769, equations 1 and 2), with a
        veil; drops of several depths after Garg and Nayar, IJCV 2007.

    >>> from unveil.degradations import parse
    >>> dark = np.zeros((64, 64, 3), np.float32)
    >>> rainy = parse("rain:density=0.5,brightness=0.2,veil=0")(dark, np.random.default_rng(0))
    >>> 0.05 < float(rainy.mean()) < 0.15
    True
    """
    height, width_px = image.shape[:2]
    streaks = _scatter(
        (height, width_px), rng, density, (angle, spread), (length, width), depth, brightness
    )
    rainy = image + _draw((height, width_px), streaks)[..., None]
    if veil > 0:
        mist = veil * (1 + 0.35 * smooth_field(image.shape, rng, frame))
        share = np.clip(mist, 0, 1).astype(np.float32)[..., None]
        rainy = rainy * (1 - share) + share * _SKY
    clipped: Image = np.clip(rainy, 0, 1)
    return clipped


def _scatter(
    shape: tuple[int, int],
    rng: np.random.Generator,
    density: float,
    direction: tuple[float, float],
    size: tuple[float, float],
    depth: float,
    brightness: float,
) -> _Streaks:
    """Place streaks at random on the image and around it, as far as one can reach in."""
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
    return _Streaks(
        x=rng.uniform(-margin, shape[1] + margin, count),
        y=rng.uniform(-margin, shape[0] + margin, count),
        half=0.5 * length / z * rng.uniform(2 - _LONGEST, _LONGEST, count),
        sigma=drawn,
        sine=np.sin(theta),
        cosine=np.cos(theta),
        light=light * sigma / drawn,
    )


def _visible(shape: tuple[int, int], streaks: _Streaks) -> _Streaks:
    """Keep the streaks whose bounding box meets the image, the narrowest first."""
    height, width = shape
    down = streaks.half * streaks.cosine + _CUT * streaks.sigma
    right = streaks.half * np.abs(streaks.sine) + _CUT * streaks.sigma
    meets = (np.abs(streaks.y - (height - 1) / 2) <= (height - 1) / 2 + down) & (
        np.abs(streaks.x - (width - 1) / 2) <= (width - 1) / 2 + right
    )
    order = np.flatnonzero(meets)
    order = order[np.argsort(streaks.sigma[order] / streaks.cosine[order], kind="stable")]
    return _Streaks(*(values[order] for values in streaks))


def _draw(shape: tuple[int, int], streaks: _Streaks) -> Image:
    """Sum the streaks' light on an image, each evaluated at the pixels' centres near its line."""
    streaks = _visible(shape, streaks)
    height, width = shape
    total = np.zeros(height * width, np.float64)
    # All streaks of a group are given the columns that its widest one needs.
    for group in np.array_split(np.arange(streaks.x.size), 1 + min(streaks.x.size // 48, 3)):
        place, light = _splat(shape, _Streaks(*(values[group] for values in streaks)))
        total += np.bincount(place, weights=light, minlength=total.size)
    return total.reshape(shape).astype(np.float32)


def _splat(shape: tuple[int, int], streaks: _Streaks) -> tuple[NDArray[np.int64], Image]:
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
    s = _Streaks(*(values.astype(np.float32)[streak] for values in streaks))
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


RAIN = (
    Degradation(
        "rain",
        add_rain,
        (
            Parameter("density", 0.3, 0, 4, "streaks that cover a pixel, on average"),
            Parameter("angle", 8, -60, 60, "direction, degrees from vertical"),
            Parameter("spread", 3, 0, 30, "standard deviation of the direction, degrees"),
            Parameter("length", 100, 2, 400, "length of the nearest streaks, pixels"),
            Parameter("width", 2.5, 0.3, 20, "width of the nearest streaks, pixels"),
            Parameter("depth", 3, 1, 10, "distance of the farthest drops over the nearest"),
            Parameter("brightness", 0.25, 0, 2, "light of a streak"),
            Parameter("veil", 0.05, 0, 1, "share of the mist's light"),
        ),
        presets={
            "light": {
                "density": Span(0.11, 0.19),
                "angle": Span(-25, 25),
                "spread": 2.0,
                "width": 3.0,
                "brightness": Span(0.12, 0.2),
                "veil": 0.0,
            },
            "heavy": {
                "density": Span(0.9, 1.4),
                "angle": Span(-30, 30),
                "spread": Span(1, 8),
                "length": Span(80, 160),
                "brightness": Span(0.18, 0.27),
                "veil": Span(0, 0.1),
            },
        },
        about="rain streaks of several depths and a veil",
        strengths=("density=0.1,veil=0", "density=0.4,veil=0.05", "density=1,veil=0.15"),
        framed=True,
    ),
)
