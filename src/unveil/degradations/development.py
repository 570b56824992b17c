"""What happens to a picture after it was taken: tone, colour, size, sharpness, bits.

These steps change the truth of a training pair too, unless a description says ``side=degraded``:
a darker picture has a darker truth. Only `bits` belongs to the degraded image, as JPEG does: files
lose what the picture had.
"""

from collections.abc import Mapping

import numpy as np

from unveil.degradations.filters import gaussian_blur, resized
from unveil.degradations.records import (
    Degradation,
    Image,
    NamedParameter,
    Parameter,
    Span,
)

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def _make_gray(image: Image, rng: np.random.Generator, *, amount: float) -> Image:  # noqa: ARG001
    """Take the colour out: ``I = J + amount (luma(J) - J)``.

    Source: Luma of ITU-R BT.601, as JPEG and most converters have it.

    >>> red = np.zeros((2, 2, 3), np.float32) + np.float32([1, 0, 0])
    >>> _make_gray(red, np.random.default_rng(0), amount=1)[0, 0].round(3).tolist()
    [0.29899999499320984, 0.29899999499320984, 0.29899999499320984]
    """
    luma = (image @ LUMA)[..., None]
    if amount == 1:
        return np.repeat(luma, 3, axis=2)
    gray: Image = image + np.float32(amount) * (luma - image)
    return gray


def _change_tone(
    image: Image,
    rng: np.random.Generator,  # noqa: ARG001
    *,
    ev: float,
    gamma: float,
    contrast: float,
    black: float,
    white: float,
) -> Image:
    """Change exposure and tone curve, the same for every channel.

    ``x = clip(2^(ev / 2.2) J)^gamma``; below 1, `contrast` pulls ``x`` towards middle gray; above,
    it mixes in the S-shaped ``3 x^2 - 2 x^3``; then ``I = black + (white - black) x``.

    >>> values = {"ev": 0, "gamma": 1, "contrast": 0.5, "black": 0, "white": 1}
    >>> ramp = np.float32([0, 0.5, 1]).reshape(1, 3, 1).repeat(3, axis=2)
    >>> _change_tone(ramp, np.random.default_rng(0), **values)[0, :, 0].tolist()
    [0.25, 0.5, 0.75]
    """
    x: Image = np.clip(image * np.float32(2 ** (ev / 2.2)), 0, 1)
    if gamma != 1:
        x = np.asarray(x ** np.float32(gamma), dtype=np.float32)
    if contrast < 1:
        x = np.float32(0.5) + np.float32(contrast) * (x - np.float32(0.5))
    elif contrast > 1:
        x = np.asarray(x + (contrast - 1) * (x * x * (3 - 2 * x) - x), dtype=np.float32)
    return np.asarray(np.float32(black) + np.float32(white - black) * x, dtype=np.float32)


def _change_colour(
    image: Image,
    rng: np.random.Generator,  # noqa: ARG001
    *,
    saturation: float,
    red: float,
    blue: float,
) -> Image:
    """Change saturation and white balance: ``I = clip(g (luma(J) + s (J - luma(J))))``.

    ``s`` is the saturation, ``g`` the gains of the channels, 1 for green.

    >>> image = np.full((1, 1, 3), 0.4, np.float32)
    >>> _change_colour(image, np.random.default_rng(0), saturation=1, red=1.5, blue=0.5)
    array([[[0.6, 0.4, 0.2]]], dtype=float32)
    """
    coloured: Image = image
    if saturation != 1:
        luma = (image @ LUMA)[..., None]
        coloured = np.asarray(luma + saturation * (image - luma), dtype=np.float32)
    gain = np.array([red, 1, blue], np.float32)
    clipped: Image = np.clip(coloured * gain, 0, 1)
    return clipped


def _soften(image: Image, rng: np.random.Generator, *, sigma: float) -> Image:  # noqa: ARG001
    """Blur with a Gaussian: a soft lens, a scan, a shallow focus.

    >>> _soften(np.ones((4, 4, 3), np.float32), np.random.default_rng(0), sigma=2).shape
    (4, 4, 3)
    """
    return gaussian_blur(image, sigma) if sigma >= 0.1 else image.copy()


def _sharpen(image: Image, rng: np.random.Generator, *, amount: float, radius: float) -> Image:  # noqa: ARG001
    """Mask unsharply, as cameras and editors do: ``I = clip(J + amount (J - blur(J)))``.

    >>> flat = np.full((4, 4, 3), 0.5, np.float32)
    >>> bool(np.allclose(_sharpen(flat, np.random.default_rng(0), amount=1, radius=1), flat))
    True
    """
    difference = image - gaussian_blur(image, radius)
    sharper: Image = np.clip(image + np.float32(amount) * difference, 0, 1)
    return sharper


def _resize_and_back(
    image: Image,
    rng: np.random.Generator,  # noqa: ARG001
    *,
    factor: float,
    kernel: str,
) -> Image:
    """Shrink a picture and bring it back to its size: what was resized on its way.

    After noise or rain it makes them softer and coarser, and the truth with them, so that a
    network is not trained to invent what resizing lost.

    Source: Antialiased resampling, Keys, IEEE TASSP 1981, for the bicubic kernel.

    >>> ones = np.ones((8, 8, 3), np.float32)
    >>> _resize_and_back(ones, np.random.default_rng(0), factor=0.5, kernel="bicubic").shape
    (8, 8, 3)
    """
    height, width = image.shape[:2]
    small = (max(1, round(height * factor)), max(1, round(width * factor)))
    if small == (height, width):
        return image.copy()
    back: Image = np.clip(resized(resized(image, small, kernel), (height, width), kernel), 0, 1)
    return back


def _quantize(image: Image, rng: np.random.Generator, *, depth: float) -> Image:  # noqa: ARG001
    """Round to multiples of ``1 / (2^depth - 1)``, as files hold them; clipped to [0, 1].

    >>> levels = _quantize(np.full((1, 1, 3), 0.503, np.float32), np.random.default_rng(0), depth=8)
    >>> round(float(levels[0, 0, 0]) * 255, 3)
    128.0
    """
    top = np.float32(2 ** int(depth) - 1)
    return np.asarray(np.rint(np.clip(image, 0, 1) * top) / top, dtype=np.float32)


def _soft_reach(values: Mapping[str, float]) -> float:
    return 3 * values["sigma"] + 1


def _sharpen_reach(values: Mapping[str, float]) -> float:
    return 3 * values["radius"] + 1


def _resize_reach(_: Mapping[str, float]) -> float:
    # Two pixels of a picture a quarter as large.
    return 8


DEVELOPMENT = (
    Degradation(
        "gray",
        _make_gray,
        (Parameter("amount", 1, 0, 1, "1 makes the channels equal"),),
        about="a black-and-white picture",
        strengths=("amount=0.3", "amount=0.7", "amount=1"),
        side="both",
    ),
    Degradation(
        "tone",
        _change_tone,
        (
            Parameter("ev", 0, -6, 6, "exposure in stops"),
            Parameter("gamma", 1, 0.2, 5, "above 1 darkens the middle tones", log=True),
            Parameter("contrast", 1, 0, 2, "0 flat gray, 1 unchanged, 2 an S-shaped curve"),
            Parameter("black", 0, 0, 1, "where black ends up"),
            Parameter("white", 1, 0, 1, "where white ends up"),
        ),
        presets={
            "any": {"gamma": Span(0.7, 1.4), "contrast": Span(0.7, 1.5)},
            "dim": {"ev": Span(-4, -1), "black": Span(0, 0.03)},
            "high_key": {"gamma": Span(0.3, 0.7), "black": Span(0.1, 0.6)},
            "low_key": {"gamma": Span(1.4, 3), "white": Span(0.3, 0.9)},
            "flat": {"contrast": Span(0.05, 0.6), "gamma": Span(0.5, 2)},
            "faded": {
                "contrast": Span(0.5, 1),
                "black": Span(0.08, 0.35),
                "white": Span(0.7, 1),
            },
        },
        about="exposure, tone curve and contrast",
        strengths=("ev=-1", "ev=-2,contrast=0.8", "ev=-4,contrast=0.5"),
        side="both",
    ),
    Degradation(
        "colour",
        _change_colour,
        (
            Parameter("saturation", 1, 0, 3, "0 gray, 1 unchanged"),
            Parameter("red", 1, 0.3, 2, "gain of red"),
            Parameter("blue", 1, 0.3, 2, "gain of blue"),
        ),
        presets={
            "any": {"saturation": Span(0.6, 1.5), "red": Span(0.9, 1.1), "blue": Span(0.9, 1.1)},
            "faded": {"saturation": Span(0, 0.7), "red": Span(0.95, 1.2), "blue": Span(0.6, 0.95)},
        },
        about="saturation and white balance",
        strengths=("saturation=1.2", "saturation=1.5,red=1.1", "saturation=2,red=1.3,blue=0.7"),
        side="both",
    ),
    Degradation(
        "soft",
        _soften,
        (Parameter("sigma", 1.5, 0, 20, "standard deviation of the blur, pixels"),),
        about="a soft picture",
        strengths=("sigma=1", "sigma=2", "sigma=5"),
        reach=_soft_reach,
        side="both",
    ),
    Degradation(
        "sharpen",
        _sharpen,
        (
            Parameter("amount", 0.5, 0, 5, "strength of the mask"),
            Parameter("radius", 1, 0.3, 10, "standard deviation of the mask's blur, pixels"),
        ),
        about="an unsharp mask",
        strengths=("amount=0.3", "amount=0.8", "amount=2"),
        reach=_sharpen_reach,
        side="both",
    ),
    Degradation(
        "resize",
        _resize_and_back,
        (
            Parameter("factor", 0.5, 0.1, 1, "size of the smaller picture over this one's"),
            NamedParameter("kernel", "bicubic", ("bilinear", "bicubic"), "how it is resampled"),
        ),
        about="to a smaller size and back",
        strengths=("factor=0.8", "factor=0.5", "factor=0.25"),
        reach=_resize_reach,
        side="both",
    ),
    Degradation(
        "bits",
        _quantize,
        (Parameter("depth", 8, 1, 16, "bits per channel", integer=True),),
        about="rounded to whole levels",
        strengths=("depth=6", "depth=5", "depth=4"),
    ),
)
