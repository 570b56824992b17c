"""Blur kernels conserve light and match a direct convolution."""

import numpy as np
import pytest
from scipy.ndimage import convolve as direct

from unveil.degradations import Frame, parse
from unveil.degradations.blur import disc_kernel, motion_kernel
from unveil.degradations.filters import convolve
from unveil.degradations.noise import to_linear, to_srgb


@pytest.mark.parametrize("shape", [(3, 5), (7, 7), (1, 1)])
def test_convolution_agrees_with_a_direct_one(shape):
    rng = np.random.default_rng(0)
    image, kernel = rng.random((13, 18, 3)), rng.random(shape)
    ours = convolve(image.astype(np.float32), kernel.astype(np.float32))
    reference = direct(image, kernel[..., None], mode="reflect")
    # Single precision: 1e-6 of the largest sum.
    assert np.abs(ours - reference).max() < 2e-6 * kernel.sum()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("length", [0, 1, 9, 31.5])
def test_motion_kernels_conserve_light_and_are_centred(length, seed):
    kernel = motion_kernel(np.random.default_rng(seed), length, 0.5).astype(np.float64)
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    radius = kernel.shape[0] // 2
    offsets = np.arange(-radius, radius + 1)
    assert abs((kernel.sum(axis=0) * offsets).sum()) < 1e-3
    assert abs((kernel.sum(axis=1) * offsets).sum()) < 1e-3


def test_a_straight_trajectory_is_as_long_as_asked_for():
    for seed in range(5):
        kernel = motion_kernel(np.random.default_rng(seed), 40, 0)
        rows, columns = np.nonzero(kernel)
        assert np.hypot(np.ptp(rows), np.ptp(columns)) == pytest.approx(40, abs=2.5)


def test_a_disc_has_its_area():
    for radius in (1.5, 3, 6.25):
        kernel = disc_kernel(radius)
        # Inside, every weight is one over the area.
        assert 1 / kernel.max() == pytest.approx(np.pi * radius**2, rel=0.02)


@pytest.mark.parametrize("text", ["blur:motion,length=15,bend=0.2", "blur:defocus,radius=5"])
def test_the_margin_makes_a_crop_equal_to_the_photos_part(text):
    pipeline = parse(text)
    photo = np.random.default_rng(0).random((100, 120, 3), dtype=np.float32)
    m = pipeline.margin
    whole = pipeline(photo, np.random.default_rng(3))
    window = photo[40 - m : 60 + m, 50 - m : 80 + m]
    part = pipeline(window, np.random.default_rng(3), Frame(40 - m, 50 - m, 100, 120))
    assert np.abs(part[m:-m, m:-m] - whole[40:60, 50:80]).max() < 1e-5


def test_motion_mixes_light_not_code_values():
    # A kernel much longer than the stripes: everything becomes the mean of black and white light.
    stripes = np.zeros((64, 64, 3), np.float32)
    stripes[:, ::2] = 1
    stripes[::2] = 1 - stripes[::2]
    blurred = parse("blur:motion,length=60,bend=0.5")(stripes, np.random.default_rng(0))
    assert abs(np.median(blurred) - to_srgb(np.float32(0.5))) < 0.03  # 0.735, not 0.5


def test_lights_leave_trails_as_bright_as_their_light():
    dark = np.full((61, 61, 3), 0.1, np.float32)
    dark[30, 30] = 1
    plain, bright = (
        parse(f"blur:motion,length=20,bend=0,lights={lights}")(dark, np.random.default_rng(2))
        for lights in (0, 9)
    )
    base = to_linear(dark[:1, :1])[0, 0, 0]
    added = [float((to_linear(x) - base).sum()) for x in (plain, bright)]
    assert added[1] / added[0] == pytest.approx((10 - base) / (1 - base), rel=0.02)
    assert np.array_equal(
        parse("blur:motion,length=20")(dark * 0.5, np.random.default_rng(2)),
        parse("blur:motion,length=20,lights=9")(dark * 0.5, np.random.default_rng(2)),
    )
