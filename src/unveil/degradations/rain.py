"""Rain of many styles: streaks drawn one by one, layers of filtered noise, sheets, near drops.

A veil and mist that grows with distance come with each.
"""

from collections.abc import Mapping

import numpy as np

from unveil.degradations.fields import smooth_field
from unveil.degradations.haze_depth import synthetic_depth
from unveil.degradations.rain_layers import near_drops, noise_layer, sheets
from unveil.degradations.rain_streaks import draw_streaks, scatter_streaks
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

# The light of the drops themselves and of the mist behind them: an overcast sky.
_SKY = np.array([0.86, 0.88, 0.90], np.float32)


def _add_rain(
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
    patchy: float,
    mist: float,
    style: str,
    grain: str,
    blend: str,
) -> Image:
    """Add the light ``S`` of rain and a veil: ``O = (1 - v)(J + S) + v * A``, clipped to [0, 1].

    The style decides how ``S`` is made:

    - ``streaks``: the light of streaks whose number follows a Poisson law and whose places are
      uniform, so that a crop has the statistics of its photo. A drop at distance ``z`` (1 the
      nearest, `depth` the farthest, as many per volume everywhere, so more the farther) draws a
      streak ``1 / z`` as long and wide.
    - ``layer``: random noise blurred along the fall, see `noise_layer`.
    - ``sheet``: curtains of fine rain, see `sheets`.
    - ``drops``: near drops out of focus, see `near_drops`.

    ``v`` varies slowly over the photo around `veil`; ``A`` is the light of an overcast sky. Mist
    adds scattering over `synthetic_depth`: far rain hides the scene behind it.

    `angle` is positive where rain falls to the right. In a layer or sheet, `brightness` is the
    light that 1 pixel in 500 exceeds. `blend` lays ``S`` over the scene: ``add``; ``screen``,
    ``1 - (1 - J)(1 - S)``; or ``alpha``, ``J + S (A - J)``.

    Source:
        The additive model of Yang et al., CVPR 2017 (arXiv 1609.07769, equations 1 and 2), with a
        veil; drops of several depths after Garg and Nayar, IJCV 2007; mist as in Hu et al.,
        CVPR 2019 (DAF-Net, equation 1).

    >>> from unveil.degradations import parse
    >>> dark = np.zeros((64, 64, 3), np.float32)
    >>> rainy = parse("rain:density=0.5,brightness=0.2,veil=0")(dark, np.random.default_rng(0))
    >>> 0.05 < float(rainy.mean()) < 0.15
    True
    """
    shape = (image.shape[0], image.shape[1])
    if style == "layer":
        light = noise_layer(shape, rng, density, angle, length, width, brightness, grain)
    elif style == "sheet":
        light = sheets(shape, rng, density, angle, length, width, brightness)
    elif style == "drops":
        light = near_drops(shape, rng, density, (angle, spread), (length, width), depth, brightness)
    else:
        streaks = scatter_streaks(
            shape, rng, density, (angle, spread), (length, width), depth, brightness
        )
        light = draw_streaks(shape, streaks)
    if patchy > 0:
        light *= 1 - np.float32(patchy) * _dry(shape, rng, frame)
    rainy = _blended(image, light[..., None], blend)
    if veil > 0:
        field = veil * (1 + 0.35 * smooth_field(image.shape, rng, frame))
        share = np.clip(field, 0, 1).astype(np.float32)[..., None]
        rainy = rainy * (1 - share) + share * _SKY
    if mist > 0:
        distance = synthetic_depth(image, rng, frame)
        through = np.exp(np.float32(-mist) * distance)[..., None]
        rainy = np.clip(rainy, 0, 1) * through + (1 - through) * _SKY
    clipped: Image = np.clip(rainy, 0, 1)
    return clipped


def _dry(shape: tuple[int, int], rng: np.random.Generator, frame: Frame | None) -> Image:
    """Return a smooth mask in [0, 1], 1 where it does not rain."""
    field = smooth_field(shape, rng, frame)
    mask: Image = 1 / (1 + np.exp(np.float32(-2) * field))
    return mask


def _blended(image: Image, light: Image, blend: str) -> Image:
    if blend == "add":
        return image + light
    share = np.minimum(light, np.float32(1))
    target = _SKY if blend == "alpha" else np.float32(1)
    # screen: 1 - (1 - J)(1 - S) is J + S (1 - J)
    laid: Image = image + share * (target - image)
    return laid


_ANY_BLEND = Choice(("add", "screen", "alpha"))
_STREAKS: Mapping[str, Value] = {
    "density": Span(0.05, 1.5),
    "angle": Span(-45, 45),
    "spread": Span(0, 10),
    "length": Span(10, 180),
    "width": Span(0.8, 6),
    "depth": Span(1.2, 5),
    "brightness": Span(0.08, 0.5),
    "veil": Choice((0.0, 0.0, 0.0, 0.05, 0.1, 0.2, 0.3)),
    "patchy": Choice((0.0, 0.0, 0.0, 0.5, 1.0)),
    "mist": Choice((0.0, 0.0, 0.0, 0.3, 0.8)),
    "style": "streaks",
    "blend": _ANY_BLEND,
}
_LAYER: Mapping[str, Value] = {
    "density": Span(0.15, 1.6),
    "angle": Span(-45, 45),
    "length": Span(5, 90),
    "width": Span(0.5, 4),
    "brightness": Span(0.12, 0.8),
    "veil": Choice((0.0, 0.0, 0.0, 0.05, 0.1, 0.2)),
    "patchy": Choice((0.0, 0.0, 0.5, 1.0)),
    "mist": Choice((0.0, 0.0, 0.0, 0.3, 0.8)),
    "style": "layer",
    "grain": Choice(("dots", "gaussian")),
    "blend": _ANY_BLEND,
}
_SHEET: Mapping[str, Value] = {
    "density": Span(0.5, 2),
    "angle": Span(-35, 35),
    "length": Span(8, 60),
    "width": Span(0.8, 3),
    "brightness": Span(0.25, 0.9),
    "veil": Choice((0.0, 0.05, 0.1, 0.2)),
    "patchy": Choice((0.0, 0.7, 1.0)),
    "mist": Choice((0.0, 0.3, 0.8, 1.5)),
    "style": "sheet",
    "blend": _ANY_BLEND,
}
_DROPS: Mapping[str, Value] = {
    "density": Span(0.03, 0.35),
    "angle": Span(-35, 35),
    "spread": Span(0, 6),
    "length": Span(15, 160),
    "width": Span(6, 20),
    "depth": Span(1.2, 3),
    "brightness": Span(0.05, 0.25),
    "veil": Choice((0.0, 0.0, 0.05, 0.1)),
    "style": "drops",
    "blend": Choice(("add", "alpha")),
}

RAIN = (
    Degradation(
        "rain",
        _add_rain,
        (
            Parameter("density", 0.3, 0, 4, "streaks that cover a pixel, on average"),
            Parameter("angle", 8, -60, 60, "direction, degrees from vertical"),
            Parameter("spread", 3, 0, 30, "standard deviation of the direction, degrees"),
            Parameter("length", 100, 2, 400, "length of the nearest streaks, pixels"),
            Parameter("width", 2.5, 0.3, 20, "width of the nearest streaks, pixels"),
            Parameter("depth", 3, 1, 10, "distance of the farthest drops over the nearest"),
            Parameter("brightness", 0.25, 0, 2, "light of a streak"),
            Parameter("veil", 0.05, 0, 1, "share of the mist's light"),
            Parameter("patchy", 0, 0, 1, "0 even to 1 with patches that stay dry"),
            Parameter("mist", 0, 0, 4, "scattering coefficient per unit of depth"),
            NamedParameter(
                "style", "streaks", ("streaks", "layer", "sheet", "drops"), "how rain is made"
            ),
            NamedParameter("grain", "dots", ("dots", "gaussian"), "what a layer is made of"),
            NamedParameter("blend", "add", ("add", "screen", "alpha"), "how light is laid over"),
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
            "streaks": _STREAKS,
            "layer": _LAYER,
            "sheet": _SHEET,
            "drops": _DROPS,
        },
        about="rain streaks of several depths and a veil",
        strengths=("density=0.1,veil=0", "density=0.4,veil=0.05", "density=1,veil=0.15"),
        framed=True,
    ),
)
