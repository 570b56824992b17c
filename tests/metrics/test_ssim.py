import numpy as np
import pytest
import torch

from unveil.errors import InputError
from unveil.metrics import rgb_to_y, ssim, ssim_y


def _slow_ssim(first, second, weights, covariance_factor):
    """Wang et al. 2004, eq. 13, window by window in float64, for one channel and range 1."""
    size = weights.shape[0]
    c1, c2 = 0.01**2, 0.03**2
    values = []
    for y in range(first.shape[0] - size + 1):
        for x in range(first.shape[1] - size + 1):
            a, b = first[y : y + size, x : x + size], second[y : y + size, x : x + size]
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a = covariance_factor * ((weights * a * a).sum() - mean_a**2)
            var_b = covariance_factor * ((weights * b * b).sum() - mean_b**2)
            cov = covariance_factor * ((weights * a * b).sum() - mean_a * mean_b)
            luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
            values.append(luminance * (2 * cov + c2) / (var_a + var_b + c2))
    return np.mean(values)


def _gaussian_window():
    profile = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(profile, profile)
    return window / window.sum()


WINDOWS = {
    "gaussian": (_gaussian_window(), 1.0),
    "uniform": (np.full((7, 7), 1 / 49), 49 / 48),
}


@pytest.mark.parametrize("window", WINDOWS)
def test_ssim_agrees_with_the_formula(pair, window):
    restored, clean = pair
    expected = np.mean(
        [_slow_ssim(restored[..., c], clean[..., c], *WINDOWS[window]) for c in range(3)]
    )
    # 1e-6: the library filters the padded image and drops the border, the sums differ in order only
    assert ssim(restored, clean, data_range=1, window=window) == pytest.approx(expected, abs=1e-6)


def test_gaussian_ssim_agrees_with_torchmetrics(pair):
    from torchmetrics.functional.image import structural_similarity_index_measure

    restored, clean = pair
    batch = [torch.from_numpy(image).permute(2, 0, 1)[None] for image in pair]
    _, scores = structural_similarity_index_measure(
        *batch, data_range=1.0, sigma=1.5, return_full_image=True
    )
    # torchmetrics also averages windows that reach into a mirrored border, the paper does not
    theirs = scores[..., 5:-5, 5:-5].mean().item()
    assert ssim(restored, clean, data_range=1) == pytest.approx(theirs, abs=1e-6)


def test_the_range_scales_out(pair):
    restored, clean = pair
    assert ssim(255 * restored, 255 * clean, data_range=255) == pytest.approx(
        ssim(restored, clean, data_range=1), abs=1e-12
    )


def test_luma_ssim_is_ssim_of_luma(pair):
    restored, clean = pair
    luma = [rgb_to_y(image, data_range=1) for image in pair]
    assert ssim_y(restored, clean, data_range=1) == ssim(*luma, data_range=1)


@pytest.mark.parametrize(("window", "smallest"), [("gaussian", 11), ("uniform", 7)])
def test_images_smaller_than_the_window_are_refused(rng, window, smallest):
    image = rng.random((smallest, smallest, 3))
    assert ssim(image, image, data_range=1, window=window) == pytest.approx(1)
    with pytest.raises(InputError, match="at least"):
        ssim(image[1:], image[1:], data_range=1, window=window)


def test_an_unknown_window_is_refused(rng):
    image = rng.random((20, 20))
    with pytest.raises(InputError, match="gaussian, uniform"):
        ssim(image, image, data_range=1, window="hann")
