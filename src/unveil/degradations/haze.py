"""Haze: light scattered into the line of sight, more of it the farther the scene."""

import numpy as np

from unveil.degradations.fields import frame_of, smooth_field
from unveil.degradations.filters import box_mean, guided_filter
from unveil.degradations.records import Degradation, Frame, Image, Parameter, Span
from unveil.errors import InputError

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Nothing in a photo is at the lens itself.
_NEAREST = 0.08


def add_haze(
    image: Image,
    rng: np.random.Generator,
    *,
    frame: Frame | None = None,
    beta: float,
    airlight: float,
    tint: float,
) -> Image:
    """Add haze by atmospheric scattering: ``I = J t + A (1 - t)``, ``t = exp(-beta d)``.

    The depth ``d`` (1 the farthest) is `frame`'s if it has one, else `synthetic_depth`.

    Args:
        image: (h, w, 3) in [0, 1].
        rng: Source of randomness.
        frame: Where the image sits in its photo, and its depth if known.
        beta: Scattering coefficient, per unit of depth.
        airlight: Light of the haze, A, before its tint.
        tint: Standard deviation of A's red over photos, blue changing against it: haze may be
            brownish or bluish.

    Returns:
        (h, w, 3) in [0, 1].

    Raises:
        InputError: The depth given has another size than the image.

    Source:
        Koschmieder's law as in Narasimhan and Nayar, IJCV 2002; He, Sun, Tang, CVPR 2009,
        equations 1 and 2.

    >>> black, flat = np.zeros((8, 8, 3), np.float32), np.ones((8, 8), np.float32)
    >>> far = Frame(0, 0, 8, 8, depth=flat)
    >>> hazy = add_haze(black, np.random.default_rng(0), frame=far, beta=1, airlight=1, tint=0)
    >>> round(float(hazy.mean()), 4)
    0.6321
    """
    warm = np.array([1, 0.15, -1]) * tint * rng.standard_normal()
    colour = np.clip(airlight + warm, 0, 1).astype(np.float32)
    depth = None if frame is None else frame.depth
    if depth is None:
        depth = synthetic_depth(image, rng, frame)
    elif depth.shape != image.shape[:2]:
        raise InputError(
            f"got a depth map of shape {depth.shape} for an image of {image.shape[:2]}"
        )
    transmission = np.exp(np.float32(-beta) * depth.astype(np.float32))[..., None]
    hazy: Image = np.clip(image * transmission + colour * (1 - transmission), 0, 1)
    return hazy


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


HAZE = (
    Degradation(
        "haze",
        add_haze,
        (
            Parameter("beta", 1.5, 0, 8, "scattering coefficient per unit of depth"),
            Parameter("airlight", 0.88, 0, 1, "light of the haze"),
            Parameter("tint", 0.02, 0, 0.2, "how brownish or bluish the light may be"),
        ),
        presets={
            "light": {"beta": Span(0.6, 1.2), "airlight": Span(0.75, 0.95), "tint": 0.02},
            "heavy": {"beta": Span(2, 3.5), "airlight": Span(0.7, 0.95), "tint": 0.02},
        },
        about="atmospheric scattering over a given or an invented depth",
        strengths=("beta=0.8", "beta=1.6", "beta=3"),
        framed=True,
    ),
)
