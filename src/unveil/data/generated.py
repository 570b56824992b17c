"""Clean pictures drawn by the program, which restoring must leave alone.

Photographs hold few flat areas, regular patterns and letters; a network trained on them alone takes
such pictures for haze, rain or noise.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from unveil.data.crop import FloatImage
from unveil.data.generated_pages import drawing, screen, text
from unveil.errors import DataError, InputError, OutputError
from unveil.imaging import save_png
from unveil.imaging.atomic import make_folder
from unveil.imaging.convert import from_levels, to_levels, to_uint8

# From the side of the square in pixels to a picture (side, side, 3).
Draw = Callable[[int, np.random.Generator], FloatImage]


def draw_generated(kind: str, side: int, rng: np.random.Generator) -> FloatImage:
    """Draw a clean picture.

    Half of the pictures are rounded to 8 bits, as files are; the others are exact.

    Args:
        kind: A name among `GENERATED`.
        side: Of the square, in pixels.
        rng: Source of randomness.

    Returns:
        (side, side, 3) float32 in [0, 1].

    >>> picture = draw_generated("gradient", 32, np.random.default_rng(0))
    >>> picture.shape, picture.dtype.name
    ((32, 32, 3), 'float32')
    """
    picture = np.clip(GENERATED[kind](side, rng), 0, 1)
    if rng.random() < 0.5:
        picture = from_levels(to_levels(picture))
    return np.ascontiguousarray(picture, dtype=np.float32)


def generated_kinds(names: str | Sequence[str]) -> tuple[str, ...]:
    """Check names of generated pictures.

    Args:
        names: One or several of `GENERATED`; ``"any"`` for all.

    Returns:
        The kinds, in the order given.

    Raises:
        DataError: A name is unknown or given twice, or there is none.

    >>> generated_kinds("flat"), len(generated_kinds("any")) == len(GENERATED)
    (('flat',), True)
    """
    listed = (names,) if isinstance(names, str) else tuple(names)
    if listed == ("any",):
        return tuple(GENERATED)
    if not listed or len(set(listed)) < len(listed) or not set(listed) <= set(GENERATED):
        raise DataError(
            f"generated pictures are {', '.join(listed) or 'none'}: expected `any`, or one or "
            f"several of {', '.join(GENERATED)}, each once"
        )
    return listed


def write_generated(
    out: str | Path,
    kinds: str | Sequence[str],
    *,
    count: int = 12,
    size: int = 256,
    seed: int = 0,
    force: bool = False,
) -> list[Path]:
    """Write generated pictures to a folder, to test on.

    Args:
        out: Gets the files, ``KIND_000.png`` and so on.
        kinds: Names among `GENERATED`, or ``"any"`` for all.
        count: Pictures of each kind.
        size: Side of the square pictures, in pixels.
        seed: The same seed gives the same pictures.
        force: Whether files that are there are replaced.

    Returns:
        The files written.

    Raises:
        DataError: A kind is unknown.
        InputError: The size or the count is too small.
        OutputError: A picture is already there, or cannot be written.
    """
    if size < 8 or count < 1:
        raise InputError(f"got {count} pictures of {size} pixels, expected 1 and 8 at least")
    folder = Path(out)
    chosen = generated_kinds(kinds)
    files = {folder / f"{kind}_{i:03d}.png": (kind, i) for kind in chosen for i in range(count)}
    taken = [path for path in files if path.exists()]
    if taken and not force:
        raise OutputError(f"{taken[0]} is already there; choose another folder or add --force")
    make_folder(folder)
    for path, (kind, i) in files.items():
        rng = np.random.default_rng((seed, i, *kind.encode()))
        picture = draw_generated(kind, size, rng)
        save_png(path, to_uint8(picture))
    return list(files)


def _flat(side: int, rng: np.random.Generator) -> FloatImage:
    """Fill with one gray (two of three) or one colour."""
    value = rng.random(3) if rng.random() < 1 / 3 else np.full(3, rng.random())
    return np.full((side, side, 3), value, np.float32)


def _gradient(side: int, rng: np.random.Generator) -> FloatImage:
    """Run from one tone to another: straight at any angle, or from a centre outwards."""
    y, x = _grid(side)
    if rng.random() < 0.7:
        theta = rng.choice([0, 0.5 * np.pi, rng.uniform(0, 2 * np.pi)])
        place = x * np.cos(theta) + y * np.sin(theta)
    else:
        centre = rng.uniform(-0.5, 1.5, 2) * side
        place = np.hypot(y - centre[0], x - centre[1])
    place = (place - place.min()) / max(float(np.ptp(place)), 1e-6)
    return _between(place ** np.float32(rng.uniform(0.5, 2)), rng)


def _stripes(side: int, rng: np.random.Generator) -> FloatImage:
    """Draw bars: bar codes of random widths, or equal stripes, hard, rounded like corduroy."""
    place = np.arange(side, dtype=np.float32) + np.float32(rng.uniform(0, 20))
    kind = rng.random()
    if kind < 0.4:
        unit = int(rng.integers(1, 5))
        widths = unit * rng.integers(1, 5, side)
        bars = np.repeat(np.arange(side) % 2, widths)[:side].astype(np.float32)
        pattern = np.broadcast_to(bars, (side, side))
    else:
        period = float(rng.choice([2, 3, 4, rng.uniform(2, 24)]))
        if kind < 0.6:
            y, x = _grid(side)
            theta = rng.uniform(0, np.pi)
            place = x * np.float32(np.cos(theta)) + y * np.float32(np.sin(theta))
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * place / period)
        hard = rng.choice([1, 1, 4, 50])
        wave = np.clip(0.5 + hard * (wave - 0.5), 0, 1).astype(np.float32)
        pattern = np.broadcast_to(wave, (side, side))
    if rng.random() < 0.5:
        pattern = pattern.T
    if rng.random() < 0.3:
        shade = 1 + rng.uniform(0, 0.5) * cloud_field(side, rng, 1, soft=1)
        pattern = np.asarray(pattern * shade / 1.5, dtype=np.float32)
    return _between(pattern, rng)


def _weave(side: int, rng: np.random.Generator) -> FloatImage:
    """Repeat a small tile: checks, woven cloth, bricks, grids, halftone dots."""
    high, wide = (int(rng.choice([1, 2, 3, int(rng.integers(4, 24))])) for _ in range(2))
    kind = rng.random()
    y, x = np.mgrid[:side, :side]
    if kind < 0.3:
        pattern = ((y // high + x // wide) % 2).astype(np.float32)
    elif kind < 0.5:
        row = y // (high + 1)
        joint = (y % (high + 1) == 0) | ((x + row % 2 * (wide + 1)) % (2 * wide + 2) == 0)
        pattern = joint.astype(np.float32)
    elif kind < 0.75:
        waves = np.sin(np.pi * y / (high + 1)) * np.sin(np.pi * x / (wide + 1))
        pattern = (0.5 + 0.5 * waves).astype(np.float32)
    else:
        tile = rng.random((high + 1, wide + 1), dtype=np.float32)
        pattern = np.tile(tile, (side // (high + 1) + 1, side // (wide + 1) + 1))[:side, :side]
    shaded = pattern * np.float32(0.8) + np.float32(0.1) * cloud_field(side, rng, 1.5)
    return _between(shaded if rng.random() < 0.5 else pattern, rng)


def _clouds(side: int, rng: np.random.Generator) -> FloatImage:
    """Draw an overcast or open sky, mist or smoke: a soft field of low contrast, often bright."""
    field = cloud_field(side, rng, rng.uniform(1.4, 2.5))
    y, x = _grid(side)
    slope = rng.normal(0, 0.15) * (y / side - 0.5) + rng.normal(0, 0.05) * (x / side - 0.5)
    level = rng.uniform(0.5, 0.95) if rng.random() < 0.7 else rng.uniform(0.05, 0.5)
    tone = level + slope + rng.uniform(0, 0.12) * field
    blue = rng.uniform(-0.02, 0.15) * rng.random()
    tint = np.array([-1, -0.2, 1], np.float32) * np.float32(blue)
    if rng.random() < 0.3:
        tint = rng.normal(0, 0.08, 3).astype(np.float32)
    return np.asarray(tone[..., None] + tint, dtype=np.float32)


def _plaster(side: int, rng: np.random.Generator) -> FloatImage:
    """Draw a surface of fine texture and low contrast: plaster, snow, sand, cloth, cells."""
    # Nothing finer than a pixel or two: white noise is for restoring to take away.
    rough = cloud_field(side, rng, rng.uniform(0.3, 1.5), soft=rng.uniform(0.7, 2.5))
    if rng.random() < 0.4:
        # Ridges where a smooth field crosses zero: cracks, membranes, folds.
        rough = np.float32(1) - np.minimum(np.abs(rough) * np.float32(rng.uniform(1, 4)), 1)
    shade = cloud_field(side, rng, 2.2)
    level = rng.uniform(0.55, 0.95) if rng.random() < 0.6 else rng.uniform(0.03, 0.55)
    tone = level + rng.uniform(0.005, 0.12) * rough + rng.uniform(0, 0.06) * shade
    return np.asarray(tone[..., None] * (1 + rng.normal(0, 0.05, 3)), dtype=np.float32)


def _lights(side: int, rng: np.random.Generator) -> FloatImage:
    """Draw a dark picture with points of light: stars, windows at night, discs out of focus."""
    y, x = _grid(side)
    tone = rng.uniform(0, 0.12) + rng.uniform(0, 0.04) * cloud_field(side, rng, 2)
    picture = np.repeat(np.float32(1) * tone[..., None], 3, axis=2)
    for _ in range(int(rng.integers(3, 40))):
        place, radius = rng.uniform(0, side, 2), rng.choice([0.5, 1, rng.uniform(1, 8)])
        colour = np.clip(rng.uniform(0.2, 1) + rng.normal(0, 0.2, 3), 0, 1)
        top, left = (max(0, int(c - radius - 3)) for c in place)
        part = np.s_[top : int(place[0] + radius + 4), left : int(place[1] + radius + 4)]
        distance = np.hypot(y[part] - place[0], x[part] - place[1])
        cover = np.clip(radius + 0.5 - distance, 0, 1)[..., None]
        picture[part] += cover * (colour - picture[part])
    return picture


GENERATED: Mapping[str, Draw] = {
    "flat": _flat,
    "gradient": _gradient,
    "stripes": _stripes,
    "weave": _weave,
    "text": text,
    "drawing": drawing,
    "screen": screen,
    "clouds": _clouds,
    "plaster": _plaster,
    "lights": _lights,
}


def cloud_field(
    side: int, rng: np.random.Generator, slope: float, *, soft: float = 0
) -> FloatImage:
    """Draw a random field whose amplitude falls as ``f^-slope``, mean 0 and deviation 1.

    Args:
        side: Of the square, in pixels.
        rng: Source of randomness.
        slope: 0 is white noise, 1 like photographs, 2 like clouds.
        soft: Standard deviation of a Gaussian blur, pixels.

    Returns:
        (side, side).

    >>> field = cloud_field(32, np.random.default_rng(0), 1.5)
    >>> round(float(field.std()), 3)
    1.0
    """
    down = np.fft.fftfreq(side).astype(np.float32)[:, None]
    right = np.fft.rfftfreq(side).astype(np.float32)
    frequency = np.maximum(np.hypot(down, right), 1 / side)
    parts = rng.standard_normal((2, *frequency.shape), dtype=np.float32)
    spectrum = (parts[0] + 1j * parts[1]) * frequency ** np.float32(-slope)
    if soft > 0:
        spectrum *= np.exp(np.float32(-2 * (np.pi * soft) ** 2) * frequency**2)
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(side, side))
    return np.asarray(field / max(float(field.std()), 1e-12), dtype=np.float32)


def _grid(side: int) -> tuple[FloatImage, FloatImage]:
    place = np.arange(side, dtype=np.float32)
    return np.repeat(place[:, None], side, axis=1), np.repeat(place[None], side, axis=0)


def _between(pattern: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Map 0 to one colour and 1 to another: black and white, two grays, or two colours."""
    kind = rng.random()
    if kind < 0.3:
        ends = np.array([[0.0] * 3, [1.0] * 3])
    elif kind < 0.65:
        ends = np.repeat(rng.random((2, 1)), 3, axis=1)
    else:
        ends = np.clip(rng.random((2, 1)) + rng.normal(0, 0.15, (2, 3)), 0, 1)
    if rng.random() < 0.5:
        ends = ends[::-1]
    first, second = ends.astype(np.float32)
    return np.asarray(first + pattern[..., None] * (second - first), dtype=np.float32)
