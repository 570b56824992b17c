"""Noise: Gaussian in two protocols that must not be mixed up, and a camera's."""

import numpy as np

from unveil.degradations.filters import smooth
from unveil.degradations.records import Degradation, Image, Parameter
from unveil.imaging.convert import from_levels, to_levels

_SIGMA = Parameter("sigma_255", 25.0, 0.0, 255.0, "standard deviation on the 0-255 scale")
_COMMON = Parameter(
    "common", 0, -0.5, 1, "correlation of channels: 1 equal, 0 independent, -0.5 chroma only"
)
_GRAIN = Parameter("grain", 0, 0, 4, "standard deviation of the grain, pixels; 0 is white")


def _channel_noise(shape: tuple[int, ...], rng: np.random.Generator, common: float) -> Image:
    """Draw white Gaussian noise ``(h, w, 3)`` of variance 1 whose channels correlate by `common`.

    The covariance of the channels, ``(1 - r) I + r 1 1^T``, has the eigenvalue ``1 + 2 r`` for
    what the channels share and ``1 - r`` for their differences. At ``r = -0.5`` the channels' mean
    is free of noise, at 1 the channels are equal.

    >>> noise = _channel_noise((64, 64, 3), np.random.default_rng(0), 1)
    >>> bool((noise[..., 0] == noise[..., 2]).all())
    True
    """
    noise = rng.standard_normal(shape, dtype=np.float32)
    if common == 0:
        return noise
    shared = noise.mean(axis=2, keepdims=True)
    if common == 1:
        return np.repeat(shared * np.float32(3**0.5), 3, axis=2)
    noise -= shared
    noise *= np.float32((1 - common) ** 0.5)
    noise += shared * np.float32(max(1 + 2 * common, 0) ** 0.5)
    return noise


def _add_gaussian(
    image: Image,
    rng: np.random.Generator,
    *,
    sigma_255: float,
    common: float = 0,
    grain: float = 0,
) -> Image:
    """Add Gaussian noise, white unless it has grain; the result is float and not clipped.

    ``degraded = clean + sigma_255 / 255 * n``, ``n ~ N(0, 1)`` for every pixel and channel.

    Grain is a blur of the noise that keeps its variance: the blotches of pictures that were
    denoised or enlarged.

    Source: The protocol of the Gaussian denoising tables (DnCNN, arXiv 1608.03981, section IV).

    >>> gray = np.full((256, 256, 3), 0.5, np.float32)
    >>> noisy = _add_gaussian(gray, np.random.default_rng(0), sigma_255=51)
    >>> round(float(noisy.std()), 2)
    0.2
    """
    if sigma_255 == 0:
        return image.copy()
    noise = _channel_noise(image.shape, rng, common)
    gain = 1.0
    if grain >= 0.1:
        noise, gain = smooth(noise, grain)
    noise *= np.float32(sigma_255 / 255 / gain)
    noise += image
    return noise


def _add_gaussian_uint8(
    image: Image, rng: np.random.Generator, *, sigma_255: float, common: float = 0
) -> Image:
    """Add Gaussian noise, clip, and truncate to whole levels, as the all-in-one papers do.

    ``degraded = floor(clip(255 * clean + sigma_255 * n, 0, 255)) / 255``, with ``255 * clean``
    first rounded to whole levels: the protocol starts from an 8-bit image. Truncation darkens by
    half a level on average. Numbers of this protocol and of `_add_gaussian` do not compare.

    Source: The training and test protocol of AirNet, PromptIR and MTAIR (arXiv 2412.15845).

    >>> gray = np.full((4, 4, 3), 0.5, np.float32)
    >>> levels = 255 * _add_gaussian_uint8(gray, np.random.default_rng(0), sigma_255=50)
    >>> bool(np.allclose(levels, levels.round(), atol=1e-4))
    True
    """
    levels = to_levels(image)
    if sigma_255 > 0:
        levels += _channel_noise(image.shape, rng, common) * np.float32(sigma_255)
    np.clip(levels, 0, 255, out=levels)
    return from_levels(np.floor(levels))


def to_linear(image: Image) -> Image:
    """Undo the sRGB tone curve; values are clipped to [0, 1].

    Source: IEC 61966-2-1.

    >>> round(float(to_linear(np.float32([[[0.5]]])).item()), 3)
    0.214
    """
    image = np.clip(image, 0, 1)
    high = ((image + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(image <= np.float32(0.04045), image / np.float32(12.92), high)


def to_srgb(linear: Image) -> Image:
    """Apply the sRGB tone curve; values are clipped to [0, 1].

    Source: IEC 61966-2-1.

    >>> round(float(to_srgb(np.float32([[[0.214]]])).item()), 3)
    0.5
    """
    linear = np.clip(linear, 0, 1)
    high = np.float32(1.055) * linear ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(linear <= np.float32(0.0031308), linear * np.float32(12.92), high)


def _add_camera_noise(
    image: Image,
    rng: np.random.Generator,
    *,
    shot: float,
    read: float,
    correlation: float,
    common: float,
) -> Image:
    """Add a sensor's shot and read noise before the tone curve.

    ``y = x + sqrt(shot * x + read ** 2) * n`` on linear light ``x``, then the sRGB curve. Dark
    areas end up noisier than bright ones. Demosaicking and colour conversion inside a camera leave
    grain rather than independent pixels and channels: `correlation` blurs ``n`` and `common` mixes
    its channels, both keeping its variance.

    The defaults resemble JPEG files of cameras at ISO 3200: measured on such pairs, noise
    correlates by 0.71 between neighbours and by 0.4 to 0.7 between channels.

    Source:
        Foi et al., "Practical Poissonian-Gaussian noise modeling", IEEE TIP 2008; the ranges
        follow Brooks et al., arXiv 1811.11127, section 3.1.

    >>> gray = np.full((64, 64, 3), 0.5, np.float32)
    >>> values = {"shot": 0.01, "read": 0, "correlation": 0, "common": 0}
    >>> noisy = _add_camera_noise(gray, np.random.default_rng(0), **values)
    >>> 0.03 < float(noisy.std()) < 0.07
    True
    """
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    if common > 0:
        shared = rng.standard_normal((*image.shape[:2], 1), dtype=np.float32)
        noise = np.float32((1 - common) ** 0.5) * noise + np.float32(common**0.5) * shared
    if correlation > 0:
        noise, gain = smooth(noise, correlation)
        noise *= np.float32(1 / gain)
    linear = to_linear(image)
    noise *= np.sqrt(np.float32(shot) * linear + np.float32(read**2))
    return to_srgb(linear + noise)


NOISE = (
    Degradation(
        "noise",
        _add_gaussian,
        (_SIGMA, _COMMON, _GRAIN),
        about="Gaussian noise, float, not clipped",
        strengths=("sigma_255=15", "sigma_255=25", "sigma_255=50"),
    ),
    Degradation(
        "noise_uint8",
        _add_gaussian_uint8,
        (_SIGMA, _COMMON),
        about="Gaussian noise clipped and truncated to 8 bits (all-in-one protocol)",
        strengths=("sigma_255=15", "sigma_255=25", "sigma_255=50"),
    ),
    Degradation(
        "camera",
        _add_camera_noise,
        (
            Parameter("shot", 0.001, 0, 0.2, "shot variance per unit of linear light", log=True),
            Parameter("read", 0.001, 0, 0.2, "read noise, linear light", log=True),
            Parameter("correlation", 0.8, 0, 3, "size of the grain in pixels; 0 is white"),
            Parameter("common", 0.5, 0, 1, "correlation of the noise between channels"),
        ),
        about="a camera's shot and read noise, added before the tone curve",
        strengths=("shot=0.001,read=0.001", "shot=0.004,read=0.004", "shot=0.016,read=0.01"),
    ),
)
