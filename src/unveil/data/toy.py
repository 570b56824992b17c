"""A small clean set drawn by the program, so that everything runs without a download."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unveil.errors import InputError, OutputError
from unveil.imaging import save_png
from unveil.imaging.atomic import make_folder
from unveil.imaging.convert import to_uint8

# As large as the largest patch of the recipes.
SIZE, _SMALLEST = 320, 16


def write_toy_set(
    out: str | Path,
    *,
    count: int = 24,
    test_count: int = 6,
    size: int = SIZE,
    seed: int = 0,
    force: bool = False,
) -> list[Path]:
    """Write pictures that have what photos have: edges at all scales, shading and texture.

    Args:
        out: Gets the folders ``train`` and ``test``.
        count: Pictures in ``train``.
        test_count: Pictures in ``test``.
        size: Side of the square pictures, in pixels.
        seed: The same seed gives the same pictures.
        force: Whether to replace a set that is already there, all of it.

    Returns:
        The files written.

    Raises:
        InputError: The size or a count is too small.
        OutputError: A picture is already there, or cannot be written.
    """
    if size < _SMALLEST or count < 1 or test_count < 0:
        raise InputError(
            f"got {count} + {test_count} pictures of {size} pixels, "
            f"expected at least 1 and {_SMALLEST} pixels"
        )
    files = [Path(out) / "train" / f"toy_{i:03d}.png" for i in range(count)]
    files += [Path(out) / "test" / f"toy_{i:03d}.png" for i in range(test_count)]
    taken = [path for path in files if path.exists()]
    if taken and not force:
        raise OutputError(
            f"{taken[0]} is already there; choose another folder or force writing (--force)"
        )
    if force:
        _remove_others(Path(out), files)
    for index, path in enumerate(files):
        picture = draw_picture(size, np.random.default_rng((seed, index)))
        make_folder(path.parent)
        save_png(path, picture)
    return files


def _remove_others(out: Path, files: list[Path]) -> None:
    """Remove what is left of a larger set, which would be mixed with the new one."""
    for old in (*out.glob("train/toy_*.png"), *out.glob("test/toy_*.png")):
        if old.stem.removeprefix("toy_").isdecimal() and old not in files:
            try:
                old.unlink()
            except OSError as error:
                raise OutputError(f"{old}: cannot be removed: {error.strerror}") from None


def draw_picture(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one picture by the dead-leaves model: shaded, textured discs and boxes that overlap.

    The radii follow a power law, which gives the spectrum of natural images.

    Args:
        size: Side, in pixels.
        rng: Source of randomness.

    Returns:
        (size, size, 3) uint8.

    Source: Lee, Mumford, Huang, "Occlusion models for natural images", IJCV 2001.

    >>> draw_picture(32, np.random.default_rng(0)).shape
    (32, 32, 3)
    """
    y, x = np.mgrid[:size, :size].astype(np.float32)
    image = np.empty((size, size, 3), np.float32)
    image[:] = rng.uniform(0.2, 0.8, 3)
    # Colours of photos: any brightness, little saturation.
    palette = rng.uniform(0.05, 0.95, (8, 1)) + rng.normal(0, 0.12, (8, 3))
    # An inverse-cube law between the smallest and largest radius, drawn by inversion.
    low, high = 2.5, size / 2
    radii = (high**-2 + rng.random(6 * size) * (low**-2 - high**-2)) ** -0.5
    for radius in radii:
        _draw_leaf(image, x, y, float(radius), palette, rng)
    grain = rng.uniform(0, 0.01) * rng.standard_normal((size, size, 1))
    return to_uint8(image + grain)


def _draw_leaf(
    image: NDArray[np.float32],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    radius: float,
    palette: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    size = image.shape[0]
    centre = rng.uniform(0, size, 2)
    angle, shade, frequency = rng.uniform(0, np.pi), rng.uniform(-0.3, 0.3), rng.uniform(0.2, 2.5)
    top, left = (max(0, int(c - 1.5 * radius)) for c in centre)
    bottom, right = (min(size, int(c + 1.5 * radius) + 2) for c in centre)
    if top >= bottom or left >= right:
        return
    dy, dx = y[top:bottom, left:right] - centre[0], x[top:bottom, left:right] - centre[1]
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    box = rng.random() < 0.4
    distance = np.maximum(abs(along), 1.6 * abs(across)) if box else np.hypot(along, across)
    cover = np.clip(radius - distance + 0.5, 0, 1)[..., None]
    colour = palette[rng.integers(len(palette))] + rng.normal(0, 0.08, 3)
    texture = rng.uniform(0, 0.12) * np.sin(frequency * along) * (rng.random() < 0.5)
    leaf = colour + (shade * across / radius + texture)[..., None]
    window = image[top:bottom, left:right]
    window += (cover * (leaf - window)).astype(np.float32)
