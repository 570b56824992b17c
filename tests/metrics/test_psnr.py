import math

import numpy as np
import pytest
import torch

from unveil.errors import InputError
from unveil.metrics import psnr, psnr_y


def test_psnr_of_a_known_error_is_exact():
    clean = np.zeros((8, 8, 3))
    assert psnr(clean + 25 / 255, clean, data_range=1) == pytest.approx(20 * math.log10(255 / 25))


def test_psnr_agrees_with_the_libraries(pair):
    from skimage.metrics import peak_signal_noise_ratio
    from torchmetrics.functional.image import peak_signal_noise_ratio as torch_psnr

    restored, clean = pair
    ours = psnr(restored, clean, data_range=1)
    # 1e-6 dB: both compute in float64
    assert ours == pytest.approx(peak_signal_noise_ratio(clean, restored, data_range=1), abs=1e-6)
    theirs = torch_psnr(torch.from_numpy(restored), torch.from_numpy(clean), data_range=1.0)
    assert ours == pytest.approx(theirs.item(), abs=1e-6)


def test_uint8_images_do_not_wrap_around():
    dark, light = np.full((3, 3), 5, np.uint8), np.full((3, 3), 250, np.uint8)
    assert psnr(dark, light, data_range=255) == pytest.approx(20 * math.log10(255 / 245))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_scores_nothing(value):
    clean = np.zeros((4, 4))
    restored = clean.copy()
    restored[1, 2] = value
    assert math.isnan(psnr(restored, clean, data_range=1))


def test_equal_images_score_infinity():
    image = np.ones((4, 4, 3), np.uint8)
    assert psnr(image, image, data_range=255) == math.inf


def test_luma_psnr_is_that_of_the_matlab_formula(pair):
    restored, clean = pair
    weights = (65.481, 128.553, 24.966)
    first, second = (
        16 + sum(weight * image[..., k] for k, weight in enumerate(weights))
        for image in (restored, clean)
    )
    expected = 10 * math.log10(255**2 / ((first - second) ** 2).mean())
    assert psnr_y(restored, clean, data_range=1) == pytest.approx(expected, abs=1e-9)


def test_gray_errors_gain_what_the_limited_range_gains():
    clean = np.full((4, 4, 3), 0.5)
    gain = 20 * math.log10(255 / 219)
    rgb, luma = (metric(clean + 0.02, clean, data_range=1) for metric in (psnr, psnr_y))
    assert luma - rgb == pytest.approx(gain, abs=1e-9)


@pytest.mark.parametrize("metric", [psnr, psnr_y])
@pytest.mark.parametrize(
    ("shape", "data_range"),
    [((4, 5, 3), 1), ((5, 4, 3), 0), ((5, 4, 3), -1), ((5, 4, 3), math.nan)],
)
def test_what_cannot_be_compared_is_refused(metric, shape, data_range):
    with pytest.raises(InputError):
        metric(np.zeros(shape), np.zeros((5, 4, 3)), data_range=data_range)
