"""Haze: light scattered into the line of sight, more of it the farther the scene."""

from collections.abc import Mapping

import numpy as np

from unveil.degradations.fields import smooth_field
from unveil.degradations.haze_depth import SCENES, scene_depth
from unveil.degradations.records import (
    Choice,
    Degradation,
    Frame,
    Image,
    NamedParameter,
    Parameter,
    Span,
    Value,
)
from unveil.errors import InputError


def _add_haze(
    image: Image,
    rng: np.random.Generator,
    *,
    frame: Frame | None = None,
    beta: float,
    airlight: float,
    tint: float,
    cast: float = 0,
    uneven: float = 0,
    glow: float = 0,
    scene: str = "ground",
) -> Image:
    """Add haze by atmospheric scattering: ``I = J t + A (1 - t)``, ``t = exp(-beta d)``.

    The depth ``d`` (1 the farthest) is `frame`'s if it has one, else `scene_depth`.

    `tint` is the standard deviation of A's red over photos, blue changing against it: haze may be
    brownish or bluish. `cast` is that of the logarithm of each of A's channels: light of any
    colour, as of lamps, dust or a sunset. `uneven` is the relative standard deviation of `beta`
    over a photo, `glow` that of A.

    Raises:
        InputError: The depth given has another size than the image.

    Source:
        Koschmieder's law as in Narasimhan and Nayar, IJCV 2002; He, Sun, Tang, CVPR 2009,
        equations 1 and 2.

    >>> black, flat = np.zeros((8, 8, 3), np.float32), np.ones((8, 8), np.float32)
    >>> far = Frame(0, 0, 8, 8, depth=flat)
    >>> hazy = _add_haze(black, np.random.default_rng(0), frame=far, beta=1, airlight=1, tint=0)
    >>> round(float(hazy.mean()), 4)
    0.6321
    """
    warm = np.array([1, 0.15, -1]) * tint * rng.standard_normal()
    colour = np.clip(airlight + warm, 0, 1).astype(np.float32)
    if cast > 0:
        colour = np.clip(colour * np.exp(cast * rng.standard_normal(3)), 0, 1).astype(np.float32)
    depth = None if frame is None else frame.depth
    if depth is None:
        depth = scene_depth(scene, image, rng, frame)
    elif depth.shape != image.shape[:2]:
        raise InputError(
            f"got a depth map of shape {depth.shape} for an image of {image.shape[:2]}"
        )
    density = np.float32(beta) * depth.astype(np.float32)
    if uneven > 0:
        density *= np.maximum(1 + np.float32(uneven) * smooth_field(depth.shape, rng, frame), 0)
    if glow > 0:
        field = smooth_field(depth.shape, rng, frame, finest=2)[..., None]
        colour = np.clip(colour * (1 + np.float32(glow) * field), 0, 1)
    transmission = np.exp(-density)[..., None]
    hazy: Image = np.clip(image * transmission + colour * (1 - transmission), 0, 1)
    return hazy


_DAY: Mapping[str, Value] = {
    "beta": Span(0.4, 3),
    "airlight": Span(0.5, 0.98),
    "tint": 0.025,
    "cast": Choice((0.0, 0.0, 0.03)),
    "uneven": Choice((0.0, 0.2, 0.4)),
    "glow": Choice((0.0, 0.04, 0.1)),
    "scene": Choice(("ground", "ground", "planes", "planes", "room", "field")),
}
_DUSK: Mapping[str, Value] = {
    "beta": Span(0.4, 2.5),
    "airlight": Span(0.2, 0.65),
    "tint": 0.08,
    "cast": Span(0, 0.2),
    "uneven": Choice((0.0, 0.3)),
    "glow": Span(0, 0.35),
    "scene": Choice(("ground", "planes", "room")),
}
_ROOM: Mapping[str, Value] = {
    "beta": Span(0.4, 2.5),
    "airlight": Span(0.4, 1),
    "tint": 0.05,
    "cast": Span(0, 0.12),
    "uneven": Choice((0.0, 0.3, 0.6)),
    "glow": Choice((0.0, 0.1, 0.25)),
    "scene": Choice(("room", "room", "field", "even")),
}
_SMOKE: Mapping[str, Value] = {
    "beta": Span(0.5, 3),
    "airlight": Span(0.4, 1),
    "tint": 0.1,
    "cast": Span(0, 0.25),
    "uneven": Span(0.2, 0.8),
    "glow": Span(0, 0.2),
    "scene": Choice(("field", "planes", "even")),
}

HAZE = (
    Degradation(
        "haze",
        _add_haze,
        (
            Parameter("beta", 1.5, 0, 8, "scattering coefficient per unit of depth"),
            Parameter("airlight", 0.88, 0, 1, "light of the haze"),
            Parameter("tint", 0.02, 0, 0.2, "how brownish or bluish the light may be"),
            Parameter("cast", 0, 0, 0.5, "how far the light may be of any colour"),
            Parameter("uneven", 0, 0, 1, "how much the density varies over a photo"),
            Parameter("glow", 0, 0, 1, "how much the light varies over a photo"),
            NamedParameter("scene", "ground", SCENES, "depth that is invented"),
        ),
        presets={
            "light": {"beta": Span(0.6, 1.2), "airlight": Span(0.75, 0.95), "tint": 0.02},
            "heavy": {"beta": Span(2, 3.5), "airlight": Span(0.7, 0.95), "tint": 0.02},
            "day": _DAY,
            "dusk": _DUSK,
            "room": _ROOM,
            "smoke": _SMOKE,
        },
        about="atmospheric scattering over a given or an invented depth",
        strengths=("beta=0.8", "beta=1.6", "beta=3"),
        framed=True,
    ),
)
