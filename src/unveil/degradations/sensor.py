"""A sensor's noise on its way through a camera: mosaic, white balance, demosaicking, tone curve."""

import numpy as np

from unveil.degradations.filters import gaussian_blur, resized
from unveil.degradations.noise import to_linear, to_srgb
from unveil.degradations.records import Degradation, Image, NamedParameter, Parameter, Span

# Law of the variance a x + b of 7,000 measured pairs (cameras and settings from ISO 50 to 204,800),
# green, white at 1: median over cameras at ISO 100, exponent of the ISO value, and spread of the
# logarithm among cameras (from the quartiles).
_A, _A_EXPONENT, _A_SPREAD = 3.6e-6, 0.85, 0.65
_B, _B_EXPONENT, _B_SPREAD = 7.7e-9, 1.05, 0.80
# A camera whose shot noise is above the median has more read noise, too.
_B_SLOPE = 1.34
# White of the measurements over that of a sensor: full wells hold some 50,000 electrons at ISO 100.
_SCALE = 5.0
# Channels by place in the mosaic: red and green, green and blue.
_BAYER = ((0, 1), (1, 2))


def draw_noise_law(rng: np.random.Generator, iso: float) -> tuple[float, float]:
    """Draw a camera's shot and read noise at a sensitivity, together.

    ``log a = log(5 * 3.6e-6) + 0.85 log(iso / 100) + u`` and
    ``log b = log(25 * 7.7e-9) + 1.05 log(iso / 100) + 1.34 u + v`` with ``u ~ N(0, 0.65^2)`` and
    ``v ~ N(0, 0.80^2)``.

    Args:
        rng: Source of randomness.
        iso: Sensitivity.

    Returns:
        a and b of the variance ``a x + b``, ``x`` the sensor's signal with white at 1.

    Source:
        Fitted to the profiles that darktable 4.2 ships (green, least squares in logarithms). Their
        unit is no raw value: the factor 5 brings the shot noise at ISO 100 to that of a full well
        of 50,000 electrons.

    >>> laws = [draw_noise_law(np.random.default_rng(i), 1600) for i in range(400)]
    >>> a, b = np.median(laws, axis=0)
    >>> bool(1.5e-4 < a < 2.5e-4), bool(2e-6 < b < 6e-6)
    (True, True)
    """
    stops = np.log(iso / 100)
    u, v = _A_SPREAD * rng.standard_normal(), _B_SPREAD * rng.standard_normal()
    a = _SCALE * _A * np.exp(_A_EXPONENT * stops + u)
    b = _SCALE**2 * _B * np.exp(_B_EXPONENT * stops + _B_SLOPE * u + v)
    return float(a), float(b)


def _add_sensor_noise(
    image: Image,
    rng: np.random.Generator,
    *,
    iso: float,
    red: float,
    blue: float,
    matrix: float,
    smoothing: float,
    chroma: float,
    scale: float,
    curve: str,
) -> Image:
    """Add the noise of a sensor and send it through the camera.

    The picture is brought back to the sensor's signal, ``x = W^-1 M^-1 curve^-1(J)`` with white
    balance ``W`` and colour matrix ``M``. On the mosaic, noise of variance ``a x + b`` is drawn
    (`draw_noise_law`), clipped where the sum leaves black or white, demosaicked, white-balanced,
    brought through ``M`` and, in part, smoothed as cameras do; then
    ``I = curve(curve^-1(J) + noise)``. Only the noise is demosaicked and smoothed: what a camera
    does to the scene itself is no matter of noise, so that the truth stays `image`.

    ``M`` is ``(1 + m) I - m / 3``. Half of the fine luma noise stays after `smoothing`, none of the
    chroma's after `chroma`. At a `scale` above 1 the camera's file was shrunk, below 1 enlarged.

    Source:
        Brooks et al., "Unprocessing images for learned raw denoising", arXiv 1811.11127, for the
        way back; Foi et al., IEEE TIP 2008, for the law.

    >>> gray = np.full((32, 32, 3), 0.5, np.float32)
    >>> from unveil.degradations import parse
    >>> faint, strong = (
    ...     float(parse(f"sensor:iso={iso}")(gray, np.random.default_rng(0)).std())
    ...     for iso in (100, 12800)
    ... )
    >>> faint < 0.02 < strong
    True
    """
    a, b = draw_noise_law(rng, iso)
    linear = to_linear(_film_inverse(image) if curve == "film" else image)
    balance = np.array([red, 1, blue], np.float32)
    signal = (linear + np.float32(matrix) * linear.mean(axis=2, keepdims=True)) / (
        np.float32(1 + matrix) * balance
    )
    shape = (image.shape[0], image.shape[1])
    if scale != 1:
        sides = tuple(max(4, round(side * scale)) for side in shape)
        signal = resized(signal, (sides[0], sides[1]))
    noise = _mosaic_noise(signal, rng, a, b) * balance
    noise = noise * np.float32(1 + matrix) - np.float32(matrix) * noise.mean(axis=2, keepdims=True)
    noise = _smoothed(noise, smoothing, chroma)
    if scale != 1:
        noise = resized(noise, shape)
    developed = to_srgb(linear + noise)
    return _film(developed) if curve == "film" else developed


def _mosaic_noise(signal: Image, rng: np.random.Generator, a: float, b: float) -> Image:
    """Draw the noise of each site of the mosaic, and interpolate the channels between sites."""
    height, width = signal.shape[:2]
    # One pixel more on each side, so that borders have neighbours to interpolate from.
    padded = np.pad(signal, ((2, 2), (2, 2), (0, 0)), mode="symmetric")
    mosaic = np.empty(padded.shape[:2], np.float32)
    for i, channels in enumerate(_BAYER):
        for j, channel in enumerate(channels):
            mosaic[i::2, j::2] = padded[i::2, j::2, channel]
    variance = np.maximum(np.float32(a) * mosaic + np.float32(b), 0)
    noisy = mosaic + np.sqrt(variance) * rng.standard_normal(mosaic.shape, dtype=np.float32)
    # White clips. Black does not: sensors record values on both sides of it.
    noise = np.minimum(noisy, 1) - np.minimum(mosaic, 1)
    return demosaicked(noise)[2 : 2 + height, 2 : 2 + width]


def demosaicked(mosaic: Image) -> Image:
    """Interpolate each channel of a Bayer mosaic ``(h, w)``, RGGB, from its nearest sites.

    Returns:
        (h, w, 3).

    Source:
        Bilinear interpolation; kernels as in Losson, Macaire, Yang, "Comparison of color
        demosaicing methods", 2010, section 2.

    >>> bool(np.allclose(demosaicked(np.ones((6, 8), np.float32))[1:-1, 1:-1], 1))
    True
    """
    planes = np.zeros((*mosaic.shape, 3), np.float32)
    for i, channels in enumerate(_BAYER):
        for j, channel in enumerate(channels):
            planes[i::2, j::2, channel] = mosaic[i::2, j::2]
    around = np.pad(planes, ((1, 1), (1, 1), (0, 0)))
    rows = around[:-2] + around[2:]
    cross = rows[:, 1:-1, 1] + around[1:-1, :-2, 1] + around[1:-1, 2:, 1]
    full = np.empty_like(planes)
    full[..., 1] = planes[..., 1] + 0.25 * cross
    for channel in (0, 2):
        down = 0.5 * rows[..., channel] + around[1:-1, :, channel]
        full[..., channel] = down[:, 1:-1] + 0.5 * (down[:, :-2] + down[:, 2:])
    return full


def _smoothed(noise: Image, luma: float, chroma: float) -> Image:
    if luma == 0 and chroma == 0:
        return noise
    gray = noise.mean(axis=2, keepdims=True)
    colour = noise - gray
    if chroma > 0:
        colour = gaussian_blur(colour, chroma)
    if luma > 0:
        gray = np.float32(0.5) * (gray + gaussian_blur(gray, luma))
    return np.asarray(gray + colour)


def _film(image: Image) -> Image:
    """Apply the S-shaped curve ``3 x^2 - 2 x^3``, half of it."""
    return np.asarray(image * (0.5 + image * (1.5 - image)), dtype=np.float32)


def _film_inverse(image: Image) -> Image:
    """Undo `_film` by Newton's steps; its slope is 0.5 or more."""
    target = np.clip(image, 0, 1)
    x: Image = target
    for _ in range(3):
        x = np.asarray(x - (_film(x) - target) / (0.5 + x * (3 - 3 * x)), dtype=np.float32)
    return np.clip(x, 0, 1)


SENSOR = (
    Degradation(
        "sensor",
        _add_sensor_noise,
        (
            Parameter("iso", 1600, 50, 204800, "sensitivity", log=True),
            Parameter("red", 2.0, 0.5, 4, "white balance of red over green"),
            Parameter("blue", 1.7, 0.5, 4, "white balance of blue over green"),
            Parameter("matrix", 0.5, 0, 2, "strength of the colour matrix"),
            Parameter("smoothing", 0, 0, 8, "the camera's smoothing of luma, pixels"),
            Parameter("chroma", 0, 0, 16, "the camera's smoothing of chroma, pixels"),
            Parameter("scale", 1, 0.4, 4, "the sensor's picture over this one's size", log=True),
            NamedParameter("curve", "srgb", ("srgb", "film"), "tone curve"),
        ),
        presets={
            "any": {
                "iso": Span(200, 51200),
                "red": Span(1.4, 2.6),
                "blue": Span(1.2, 2.4),
                "matrix": Span(0, 1),
                "smoothing": Span(0, 2),
                "chroma": Span(0, 4),
                "scale": Span(0.7, 2),
            },
            "raw": {
                "iso": Span(200, 51200),
                "red": Span(1.4, 2.6),
                "blue": Span(1.2, 2.4),
                "matrix": Span(0, 1),
            },
        },
        about="a sensor's noise on a mosaic, through white balance, demosaicking and tone curve",
        strengths=("iso=1600", "iso=6400,chroma=2", "iso=25600,smoothing=1,chroma=3,scale=0.7"),
    ),
)
