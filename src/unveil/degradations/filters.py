"""Linear filters on numpy images that the degradations share."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unveil.degradations.records import Image


def gaussian_kernel(sigma: float) -> NDArray[np.float32]:
    """Sample a Gaussian at whole pixels out to three standard deviations; its sum is 1.

    >>> gaussian_kernel(0.5).size
    5
    """
    radius = int(np.ceil(3 * sigma))
    x = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (x / sigma) ** 2)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def smooth(image: Image, sigma: float) -> tuple[Image, float]:
    """Blur with a separable Gaussian, edges wrapped around.

    Args:
        image: (h, w, c).
        sigma: Standard deviation in pixels, above 0.

    Returns:
        The blurred image and the factor by which white noise's standard deviation shrinks.

    >>> blurred, gain = smooth(np.ones((8, 8, 1), np.float32), 1.0)
    >>> bool(np.allclose(blurred, 1)), round(gain, 2)
    (True, 0.28)
    """
    gain = float(np.square(gaussian_kernel(sigma)).sum())
    return gaussian_blur(image, sigma, edges="wrap"), gain


def gaussian_blur(
    image: Image, sigma: float, edges: Literal["symmetric", "wrap"] = "symmetric"
) -> Image:
    """Blur with a separable Gaussian.

    Args:
        image: (h, w, c).
        sigma: Standard deviation in pixels; below 0.1 nothing changes.
        edges: How the image goes on beyond them, mirrored or wrapped around.

    Returns:
        (h, w, c).

    >>> bool(np.allclose(gaussian_blur(np.ones((5, 9, 3), np.float32), 1.5), 1))
    True
    """
    if sigma < 0.1:
        return image
    kernel = gaussian_kernel(sigma)
    radius = kernel.size // 2
    for axis in (0, 1):
        width = [(0, 0)] * image.ndim
        width[axis] = (radius, radius)
        padded = np.pad(image, width, mode=edges)
        size = image.shape[axis]
        image = kernel[radius] * _shifted(padded, axis, radius, size)
        for step in range(1, radius + 1):
            both = _shifted(padded, axis, radius - step, size) + _shifted(
                padded, axis, radius + step, size
            )
            image += kernel[radius + step] * both
    return image


def _shifted(image: Image, axis: int, start: int, size: int) -> Image:
    return image[start : start + size] if axis == 0 else image[:, start : start + size]


def resized(image: Image, shape: tuple[int, int], kernel: str = "bicubic") -> Image:
    """Bring an image to another size, without aliasing.

    Args:
        image: (h, w, c).
        shape: Rows and columns of the result.
        kernel: ``bilinear`` or ``bicubic``.

    Returns:
        (h', w', c).

    >>> resized(np.ones((8, 6, 3), np.float32), (4, 3)).shape
    (4, 3, 3)
    """
    # torch takes a second to import: only those who resize wait for it
    import torch  # noqa: PLC0415

    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    with torch.no_grad():
        other = torch.nn.functional.interpolate(
            tensor, shape, mode=kernel, antialias=True, align_corners=False
        )
    return np.ascontiguousarray(other[0].numpy().transpose(1, 2, 0))


def convolve(image: Image, kernel: NDArray[np.float32]) -> Image:
    """Convolve every channel with a kernel; edges are mirrored.

    Runs in the frequency domain, so its time does not depend on the kernel's values.

    Args:
        image: (h, w, c).
        kernel: (kh, kw), odd sizes.

    Returns:
        (h, w, c).

    >>> delta = np.zeros((3, 3), np.float32)
    >>> delta[1, 1] = 1
    >>> image = np.random.default_rng(0).random((5, 7, 3), dtype=np.float32)
    >>> bool(np.allclose(convolve(image, delta), image, atol=1e-6))
    True
    """
    height, width, _ = image.shape
    top, left = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(image, ((top, top), (left, left), (0, 0)), mode="symmetric")
    shape = (fast_size(height + 2 * top), fast_size(width + 2 * left))
    planes = np.ascontiguousarray(padded.transpose(2, 0, 1))
    spectrum = np.fft.rfft2(planes, s=shape) * np.fft.rfft2(kernel, s=shape)
    full = np.fft.irfft2(spectrum, s=shape)
    valid = full[:, 2 * top : 2 * top + height, 2 * left : 2 * left + width]
    return np.ascontiguousarray(valid.transpose(1, 2, 0), dtype=np.float32)


def fast_size(n: int) -> int:
    """Find the smallest size from `n` up whose only prime factors are 2, 3 and 5.

    >>> fast_size(97)
    100
    """
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


def box_mean(plane: Image, radius: int) -> Image:
    """Average over a window of ``2 * radius + 1`` pixels, cut off at the edges.

    Args:
        plane: (..., h, w).
        radius: Pixels to either side.

    Returns:
        (..., h, w).

    >>> box_mean(np.eye(3, dtype=np.float32), 1)[1, 1].item()
    0.3333333432674408
    """
    mean = plane.astype(np.float64)
    for axis in (-2, -1):
        size = plane.shape[axis]
        low = np.maximum(np.arange(size) - radius, 0)
        high = np.minimum(np.arange(size) + radius + 1, size)
        total = np.cumsum(mean, axis=axis)
        count = (high - low).reshape((-1, 1) if axis == -2 else (1, -1))
        mean = total.take(high - 1, axis=axis)
        mean -= total.take(np.maximum(low - 1, 0), axis=axis) * (low > 0).reshape(count.shape)
        mean /= count
    return mean.astype(np.float32)


def guided_filter(plane: Image, guide: Image, radius: int, eps: float) -> Image:
    """Smooth a plane so that its edges lie where the guide's do.

    Within each window the output is a line in the guide, fitted to the plane.

    Args:
        plane: (h, w), what is smoothed.
        guide: (h, w) in [0, 1].
        radius: Window's radius in pixels.
        eps: Variance of the guide below which an area counts as flat.

    Returns:
        (h, w).

    Source: He, Sun, Tang, "Guided image filtering", ECCV 2010, equations 5, 6 and 8.

    >>> step = np.repeat(np.float32([0, 1]), 8)[None].repeat(16, axis=0)
    >>> smoothed = guided_filter(step, step, 3, 1e-4)
    >>> bool(np.abs(smoothed - step).max() < 0.01)
    True
    """
    moments = np.stack([guide, plane, guide * guide, guide * plane])
    mean_guide, mean_plane, square, product = box_mean(moments, radius)
    variance = square - mean_guide**2
    covariance = product - mean_guide * mean_plane
    slope = covariance / (np.maximum(variance, 0) + np.float32(eps))
    offset = mean_plane - slope * mean_guide
    mean_slope, mean_offset = box_mean(np.stack([slope, offset]), radius)
    return np.asarray(mean_slope * guide + mean_offset, dtype=np.float32)
