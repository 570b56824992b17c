"""Filters agree with slow, obvious versions."""

import numpy as np
import pytest

from unveil.degradations.fields import smooth_field
from unveil.degradations.filters import box_mean, convolve, fast_size, guided_filter, smooth


@pytest.mark.parametrize("radius", [0, 1, 4, 50])
def test_box_mean_averages_what_is_inside_the_image(radius):
    plane = np.random.default_rng(0).random((9, 13), dtype=np.float32)
    ours = box_mean(plane, radius)
    for i in range(9):
        for j in range(13):
            rows = slice(max(0, i - radius), i + radius + 1)
            columns = slice(max(0, j - radius), j + radius + 1)
            expected = plane[rows, columns].mean(dtype=np.float64)
            assert ours[i, j] == pytest.approx(expected, abs=1e-6)


def test_a_guided_filter_keeps_lines_in_the_guide():
    guide = np.random.default_rng(0).random((30, 40), dtype=np.float32)
    plane = 0.3 + 0.5 * guide
    # Exact for eps = 0; 1e-6 against a variance of 1/12.
    assert np.abs(guided_filter(plane, guide, 4, 1e-6) - plane).max() < 1e-3


def test_a_guided_filter_averages_where_the_guide_is_flat():
    plane = np.random.default_rng(0).random((30, 40), dtype=np.float32)
    flat = np.full_like(plane, 0.5)
    expected = box_mean(box_mean(plane, 3), 3)
    assert np.abs(guided_filter(plane, flat, 3, 1e-3) - expected).max() < 1e-4


@pytest.mark.parametrize("sigma", [0.4, 1, 2.5])
def test_smoothing_reports_how_much_noise_is_left(sigma):
    noise = np.random.default_rng(0).standard_normal((300, 300, 1), dtype=np.float32)
    blurred, gain = smooth(noise, sigma)
    assert blurred.std() == pytest.approx(gain, rel=0.05)


def test_a_smooth_field_has_unit_variance_over_photos():
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_field((24, 32), rng) for _ in range(400)])
    assert fields.mean() == pytest.approx(0, abs=0.15)
    assert fields.std() == pytest.approx(1, abs=0.1)


def test_fast_sizes_have_small_factors():
    assert [fast_size(n) for n in (1, 7, 11, 13, 97, 128)] == [1, 8, 12, 15, 100, 128]


def test_smoothing_wraps_round_and_shrinks_white_noise_as_told():
    point = np.zeros((9, 9, 1), np.float32)
    point[0, 0] = 1
    blurred, _ = smooth(point, 1.0)
    assert blurred.sum() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(blurred[1, 0], blurred[-1, 0], rtol=1e-5)
    noise = np.random.default_rng(0).standard_normal((400, 400, 1)).astype(np.float32)
    after, gain = smooth(noise, 1.5)
    assert after.std() == pytest.approx(gain, rel=0.02)


def test_a_convolution_mirrors_with_the_rim_repeated():
    image = np.arange(5, dtype=np.float32)[None, :, None].repeat(3, 0).repeat(3, 2)
    ahead = np.zeros((1, 3), np.float32)
    ahead[0, 2] = 1
    np.testing.assert_allclose(convolve(image, ahead)[1, :, 0], [0, 0, 1, 2, 3], atol=1e-5)
