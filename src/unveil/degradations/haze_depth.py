"""Invented depth maps: ground, planes, rooms, fields."""

import numpy as np
from numpy.typing import NDArray

from unveil.degradations.fields import frame_of, smooth_field
from unveil.degradations.filters import box_mean, guided_filter
from unveil.degradations.records import Frame, Image

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Nothing in a photo is at the lens itself.
_NEAREST = 0.08
SCENES = ("ground", "planes", "room", "field", "even")


def scene_depth(
    scene: str, image: Image, rng: np.random.Generator, frame: Frame | None = None
) -> Image:
    """Invent a depth map of a kind of scene, with edges where the photo has them.

    - ``ground``: see `synthetic_depth`.
    - ``planes``: ridges, tree lines or houses one behind the other, each at a distance of its own,
      under a far sky.
    - ``room``: walls, floor and ceiling that recede to a vanishing point: indoors, streets.
    - ``field``: a smooth random field: banks of fog or smoke, no matter what stands where.
    - ``even``: the same distance everywhere.

    Args:
        scene: One of `SCENES`.
        image: (h, w, 3) in [0, 1].
        rng: Source of randomness.
        frame: Where the image sits in its photo; a crop gets its part of the photo's depth.

    Returns:
        (h, w) in [0.08, 1], 1 the farthest.

    >>> photo = np.random.default_rng(0).random((48, 64, 3), dtype=np.float32)
    >>> for scene in SCENES:
    ...     depth = scene_depth(scene, photo, np.random.default_rng(1))
    ...     assert depth.shape == (48, 64) and 0.08 <= depth.min() <= depth.max() <= 1
    """
    if scene == "ground":
        return synthetic_depth(image, rng, frame)
    shape = image.shape[:2]
    if scene == "even":
        return np.full(shape, rng.uniform(0.3, 1), np.float32)
    if scene == "field":
        field = 0.55 + 0.25 * smooth_field(shape, rng, frame, finest=rng.uniform(1, 4))
        return np.asarray(np.clip(field, _NEAREST, 1), dtype=np.float32)
    place = frame_of(shape, frame)
    y = ((np.arange(shape[0]) + place.top) / place.height).astype(np.float32)[:, None]
    x = ((np.arange(shape[1]) + place.left) / place.width).astype(np.float32)
    depth = _planes(y, x, rng) if scene == "planes" else _room(y, x, rng)
    return _fitted(depth, image, rng, place)


def _planes(y: Image, x: Image, rng: np.random.Generator) -> Image:
    """Step back from ridge to ridge, from the bottom up; y and x run from 0 to 1 over the photo."""
    count = int(rng.integers(2, 6))
    heights = np.sort(rng.uniform(0.05, 0.95, count))[::-1]
    steps = rng.dirichlet(np.ones(count + 1)).cumsum()
    depth: Image = np.full(np.broadcast_shapes(y.shape, x.shape), steps[0], np.float32)
    for height, step in zip(heights, steps[1:], strict=True):
        ridge = np.full_like(x, height)
        for wave in range(1, 7):
            swing = rng.normal(0, 0.08) / wave
            ridge += swing * np.sin(2 * np.pi * (wave * rng.uniform(0.6, 1.4) * x + rng.random()))
        depth = np.where(y < ridge, np.float32(step), depth)
    return depth


def _room(y: Image, x: Image, rng: np.random.Generator) -> Image:
    """Recede to a vanishing point, as the walls of a corridor do."""
    row, column = rng.uniform(0.2, 0.7), rng.uniform(0.15, 0.85)
    wall = rng.uniform(0.1, 0.5)
    across = np.maximum(
        np.where(y < row, (row - y) / row, (y - row) / (1 - row)),
        np.where(x < column, (column - x) / column, (x - column) / (1 - column)),
    )
    # Along a wall, distance is one over the angle from the vanishing point, up to the end wall.
    depth: Image = np.asarray(wall / np.maximum(across, wall), dtype=np.float32)
    return depth


def _fitted(depth: Image, image: Image, rng: np.random.Generator, place: Frame) -> Image:
    """Push areas back or forward by their tone and put edges where the photo has them."""
    side = max(place.height, place.width)
    luma = np.clip(image, 0, 1) @ _LUMA
    tone = box_mean(luma, max(1, side // 160))
    objects, phase = rng.uniform(0, 0.15), rng.uniform(0, 2 * np.pi)
    depth = depth + objects * np.cos(2 * np.pi * rng.uniform(0.6, 1.6) * tone + phase)
    depth = guided_filter(depth.astype(np.float32), luma, max(2, side // 40), 3e-3)
    bounded: NDArray[np.float32] = np.clip(depth, _NEAREST, 1)
    return bounded


def synthetic_depth(image: Image, rng: np.random.Generator, frame: Frame | None = None) -> Image:
    """Invent a depth map that fits a photo: ground below, distance above, edges where it has them.

    A ramp from the bottom to a horizon, relief from a smooth field, and areas pushed back or
    forward by their tone: bright ones back like the sky, and at random like objects. Averaging
    over small windows takes texture out and a guided filter puts the photo's edges back in.

    Args:
        image: (h, w, 3) in [0, 1].
        rng: Source of randomness.
        frame: Where the image sits in its photo; a crop gets its part of the photo's depth, apart
            from the filters' windows ending at its borders.

    Returns:
        (h, w) in [0.08, 1], 1 the farthest.

    >>> photo = np.random.default_rng(0).random((48, 64, 3), dtype=np.float32)
    >>> depth = synthetic_depth(photo, np.random.default_rng(1))
    >>> bool(depth[:8].mean() > depth[-8:].mean())
    True
    """
    place = frame_of(image.shape, frame)
    side = max(place.height, place.width)
    luma = np.clip(image, 0, 1) @ _LUMA
    horizon, bend = rng.uniform(0.05, 0.55), rng.uniform(0.8, 1.8)
    relief, objects, sky = rng.uniform(0, 0.12), rng.uniform(0.02, 0.16), rng.uniform(0.1, 0.5)
    phase, frequency = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.6)
    y = (np.arange(image.shape[0], dtype=np.float32) + place.top) / place.height
    # On flat ground, distance grows like one over the height below the horizon.
    ground = np.clip((1 - y) / (1 - horizon), 0, 1) ** np.float32(bend)
    depth = 0.75 * ground[:, None] + relief * smooth_field(image.shape, rng, frame)
    tone = box_mean(luma, max(1, side // 160))
    depth += sky * ground[:, None] * (tone - 0.4)
    depth += objects * np.cos(2 * np.pi * frequency * tone + phase)
    radius = max(2, side // 40)
    depth = guided_filter(0.6 * depth + 0.4 * box_mean(depth, radius), luma, radius, 3e-3)
    bounded: Image = np.clip(depth + np.float32(0.1), _NEAREST, 1)
    return bounded
