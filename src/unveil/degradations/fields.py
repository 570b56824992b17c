"""Quantities that vary slowly over a whole photo, evaluated on any part of it."""

from collections.abc import Sequence

import numpy as np

from unveil.degradations.records import Frame, Image


def frame_of(shape: Sequence[int], frame: Frame | None) -> Frame:
    """Take an image without a frame as a whole photo.

    Args:
        shape: Of the image, (h, w, 3).
        frame: Where the image lies in its photo; None for a whole photo.

    >>> frame_of((4, 6, 3), None)[:4]
    (0, 0, 4, 6)
    """
    return frame if frame is not None else Frame(0, 0, int(shape[0]), int(shape[1]))


def smooth_field(
    shape: Sequence[int],
    rng: np.random.Generator,
    frame: Frame | None = None,
    *,
    waves: int = 8,
    finest: float = 4.0,
) -> Image:
    """Draw a smooth random field with mean 0 and variance 1 over photos.

    Sums plane waves whose wavelengths are fractions of the photo's longer side: the coarser, the
    stronger. The same generator state gives the same field for a photo and for its crops.

    Args:
        shape: (h, w, ...) of the image at hand.
        rng: Source of randomness.
        frame: Where the image sits in its photo; None where it is the whole photo.
        waves: Number of waves.
        finest: Waves per longer side of the finest wave.

    Returns:
        (h, w).

    >>> photo = smooth_field((40, 60), np.random.default_rng(0))
    >>> crop = smooth_field((8, 9), np.random.default_rng(0), Frame(10, 20, 40, 60))
    >>> bool(np.allclose(photo[10:18, 20:29], crop, atol=1e-5))
    True
    """
    place = frame_of(shape, frame)
    side = max(place.height, place.width)
    y = (np.arange(shape[0]) + place.top) / side
    x = (np.arange(shape[1]) + place.left) / side
    frequency = 0.5 * (2 * finest) ** rng.random(waves)
    theta, phase = rng.uniform(0, 2 * np.pi, (2, waves))
    amplitude = 1 / frequency
    amplitude *= np.sqrt(2) / np.linalg.norm(amplitude)
    # cos(a + b) as a product, so that the exponentials are of one axis each.
    down = np.exp(1j * (2 * np.pi * frequency * np.sin(theta) * y[:, None] + phase)) * amplitude
    right = np.exp(1j * (2 * np.pi * frequency * np.cos(theta) * x[:, None]))
    return np.asarray((down @ right.T).real, dtype=np.float32)
