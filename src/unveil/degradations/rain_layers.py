"""Rain that is not drawn streak by streak: layers of filtered noise, sheets, drops out of focus."""

import numpy as np
from numpy.typing import NDArray

from unveil.degradations.filters import fast_size
from unveil.degradations.records import Image

_FWHM = 2 * np.sqrt(2 * np.log(2))
# Light of layers is scaled by the value that this share of the pixels stays below.
_PEAK = 0.998
_SAMPLE = 20000

Size = tuple[int, int]


def noise_layer(
    shape: Size,
    rng: np.random.Generator,
    density: float,
    angle: float,
    length: float,
    width: float,
    brightness: float,
    grain: str,
) -> Image:
    """Blur random noise along the fall, cut its lower part off and scale the rest.

    Photo editors' recipes for rain work this way, and with them the rain of several data sets.

    Args:
        shape: (h, w).
        rng: Source of randomness.
        density: The cut leaves ``exp(-density)`` of the pixels dry, as many as streaks that cover
            a pixel `density` times on average would.
        angle: Direction in degrees from vertical; positive falls to the right.
        length: Of the blur, pixels.
        width: Across the fall, full width at half maximum, pixels.
        brightness: The light that 1 pixel in 500 exceeds.
        grain: ``dots``, sparse bright pixels; or ``gaussian``, white noise.

    Returns:
        (h, w), light from 0 on.

    Source: Chosen here; the ranges of the preset are those of a trial on three foreign sets.

    >>> light = noise_layer((64, 64), np.random.default_rng(0), 0.7, 0, 20, 1.5, 0.3, "dots")
    >>> bool(abs((light == 0).mean() - np.exp(-0.7)) < 0.1)
    True
    """
    size = _torus(shape, length)
    if grain == "dots":
        share, slope = rng.uniform(0.01, 0.1), rng.uniform(20, 200)
        noise = rng.random(size, dtype=np.float32)
        noise -= np.float32(1 - share)
        noise *= np.float32(slope)
        np.clip(noise, 0, 1, out=noise)
    else:
        noise = rng.standard_normal(size, dtype=np.float32)
    streaks = _along_fall(noise, angle, length, width / _FWHM)[: shape[0], : shape[1]]
    return _cut(streaks, float(np.exp(-density)), brightness)


def sheets(
    shape: Size,
    rng: np.random.Generator,
    density: float,
    angle: float,
    length: float,
    width: float,
    brightness: float,
) -> Image:
    """Draw curtains of fine rain: broad bands along the fall, with streaks too fine to tell apart.

    ``S = s * band * (0.2 + 0.8 * fine)`` with Gaussian noise blurred along the fall for both: the
    band 5 times as long and 12 times as wide as the fine streaks, of which the arguments speak as
    in `noise_layer`. The bands leave ``exp(-density)`` of the pixels dry.

    Source: Chosen here, after photographs of squalls.

    >>> light = sheets((64, 64), np.random.default_rng(0), 0.7, 0, 20, 1.5, 0.3)
    >>> light.shape, bool(light.min() >= 0)
    ((64, 64), True)
    """
    size = _torus(shape, length)
    noise = rng.standard_normal((2, *size), dtype=np.float32)
    fine = _along_fall(noise[0], angle, length, width / _FWHM)[: shape[0], : shape[1]]
    band = _along_fall(noise[1], angle, 5 * length, 12 * width / _FWHM)[: shape[0], : shape[1]]
    band = _cut(band, float(np.exp(-density)), 1.0)
    fine = _cut(fine, 0.4, 1.0)
    light: Image = np.float32(brightness) * band * (np.float32(0.2) + np.float32(0.8) * fine)
    return light


def near_drops(
    shape: Size,
    rng: np.random.Generator,
    density: float,
    direction: tuple[float, float],
    size: tuple[float, float],
    depth: float,
    brightness: float,
) -> Image:
    """Draw drops near the lens: discs out of focus, swept along their fall, faint and flat.

    Their number follows a Poisson law.

    Args:
        shape: (h, w).
        rng: Source of randomness.
        density: Drops that cover a pixel, on average.
        direction: Mean angle in degrees from vertical and its standard deviation.
        size: Path and diameter of the nearest drops, pixels.
        depth: Size of the nearest drops over that of the smallest.
        brightness: Mean light of a drop.

    Returns:
        (h, w), light from 0 on.

    Source: A disc is the image of a point out of focus; swept, it is flat with round ends.

    >>> light = near_drops((64, 64), np.random.default_rng(0), 0.3, (0, 0), (30, 8), 1.5, 0.1)
    >>> 0.01 < float(light.mean()) < 0.1
    True
    """
    length, width = size
    # Sizes are uniform between nearest / depth and nearest.
    shares = (1 + depth**-1) / 2, (1 + depth**-1 + depth**-2) / 3
    area = length * width * shares[1] + np.pi / 4 * width**2 * shares[1]
    margin = (length + width) / 2 + 1
    space = (shape[0] + 2 * margin) * (shape[1] + 2 * margin)
    count = int(rng.poisson(density * space / area))
    light = np.zeros(shape, np.float32)
    scale = rng.uniform(1 / depth, 1, count)
    theta = np.deg2rad(np.clip(rng.normal(*direction, count), -80, 80))
    place = rng.uniform(-margin, np.array(shape)[:, None] + margin, (2, count))
    glow = brightness * rng.gamma(4, 1 / 4, count)
    for i in range(count):
        _sweep(
            light,
            (place[0, i], place[1, i]),
            (length * scale[i] / 2 * np.cos(theta[i]), length * scale[i] / 2 * np.sin(theta[i])),
            width * scale[i] / 2,
            glow[i],
        )
    return light


def _sweep(
    light: Image,
    centre: tuple[float, float],
    half: tuple[float, float],
    radius: float,
    glow: float,
) -> None:
    """Add a disc swept from ``centre - half`` to ``centre + half``, (row, column)."""
    reach = abs(half[0]) + radius + 1, abs(half[1]) + radius + 1
    top, left = (max(0, int(c - r)) for c, r in zip(centre, reach, strict=True))
    bottom, right = (
        min(side, int(c + r) + 2) for c, r, side in zip(centre, reach, light.shape, strict=True)
    )
    if top >= bottom or left >= right:
        return
    dy = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(centre[0])
    dx = np.arange(left, right, dtype=np.float32) - np.float32(centre[1])
    squared = max(half[0] ** 2 + half[1] ** 2, 1e-6)
    along = (dy * np.float32(half[0]) + dx * np.float32(half[1])) / np.float32(squared)
    np.clip(along, -1, 1, out=along)
    distance = np.hypot(dy - along * np.float32(half[0]), dx - along * np.float32(half[1]))
    # The rim is soft over a third of the radius.
    cover = np.clip((radius - distance) / max(0.33 * radius, 1) + 0.5, 0, 1)
    light[top:bottom, left:right] += (glow * cover).astype(np.float32)


def _torus(shape: Size, length: float) -> Size:
    """Return the size of a field to filter: no smaller than the image or the filter.

    The field is white, so it may be filtered as if its borders met.

    >>> _torus((97, 60), 80)
    (100, 80)
    """
    return fast_size(max(shape[0], int(length))), fast_size(max(shape[1], int(length)))


def _along_fall(noise: Image, angle: float, length: float, sigma: float) -> Image:
    """Blur ``(h, w)`` with a line along the fall and a Gaussian across it, borders meeting.

    The transfer function is ``sinc(length f_along) exp(-2 (pi sigma f_across)^2)``, and a Gaussian
    of half a pixel along the fall, which smooths the line's ends. Lengths are in pixels, the angle
    in degrees from vertical; positive falls to the right.

    >>> bool(np.allclose(_along_fall(np.ones((8, 8), np.float32), 30, 5, 1), 1))
    True
    """
    height, width = noise.shape
    down = np.fft.fftfreq(height).astype(np.float32)[:, None]
    right = np.fft.rfftfreq(width).astype(np.float32)
    sine, cosine = np.float32(np.sin(np.deg2rad(angle))), np.float32(np.cos(np.deg2rad(angle)))
    along, across = down * cosine + right * sine, right * cosine - down * sine
    gain: NDArray[np.float32] = np.sinc(np.float32(length) * along)
    bell = np.float32(-2 * (np.pi * sigma) ** 2) * across * across
    bell += np.float32(-2 * (np.pi * 0.5) ** 2) * along * along
    gain *= np.exp(bell)
    blurred = np.fft.irfft2(np.fft.rfft2(noise) * gain, s=noise.shape)
    return np.asarray(blurred, dtype=np.float32)


def _cut(field: Image, dry: float, brightness: float) -> Image:
    """Subtract the value that a share of the pixels stays below, and scale what is left."""
    sample = field.ravel()[:: max(1, field.size // _SAMPLE)]
    ranks = [min(int(share * sample.size), sample.size - 1) for share in (dry, _PEAK)]
    ordered = np.partition(sample, sorted(set(ranks)))
    low, high = (float(ordered[rank]) for rank in ranks)
    light = np.clip(field - np.float32(low), 0, None)
    light *= np.float32(brightness / max(high - low, 1e-6))
    return np.asarray(light, dtype=np.float32)
