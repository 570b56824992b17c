"""Generated pictures are clean, seeded and as varied as their names say."""

import numpy as np
import pytest

from unveil.data.generated import GENERATED, cloud_field, draw_generated


@pytest.mark.parametrize("kind", GENERATED)
@pytest.mark.parametrize("side", [8, 33, 96])
def test_pictures_are_seeded_and_in_range(kind, side):
    for seed in range(12):
        picture = draw_generated(kind, side, np.random.default_rng(seed))
        assert picture.shape == (side, side, 3)
        assert picture.dtype == np.float32
        assert np.isfinite(picture).all()
        assert 0 <= picture.min() <= picture.max() <= 1
        again = draw_generated(kind, side, np.random.default_rng(seed))
        assert np.array_equal(picture, again)


@pytest.mark.parametrize("kind", GENERATED)
def test_pictures_differ_from_draw_to_draw(kind):
    drawn = {draw_generated(kind, 24, np.random.default_rng(i)).tobytes() for i in range(30)}
    assert len(drawn) >= 28


def test_flat_pictures_are_flat_and_of_every_level():
    levels = []
    for seed in range(400):
        picture = draw_generated("flat", 8, np.random.default_rng(seed))
        assert np.ptp(picture, axis=(0, 1)).max() == 0
        if np.ptp(picture[0, 0]) == 0:
            levels.append(float(picture[0, 0, 0]))
    assert len(levels) / 400 == pytest.approx(2 / 3, abs=0.07)
    counts, _ = np.histogram(levels, bins=8, range=(0, 1))
    assert counts.min() > 15


def test_gradients_have_no_texture():
    for seed in range(50):
        picture = draw_generated("gradient", 64, np.random.default_rng(seed))
        for axis in (0, 1):
            steps = np.diff(picture, axis=axis)
            # Neighbours differ by a share of the whole range and the rounding.
            assert np.abs(steps).max() < 0.35
            assert np.abs(np.diff(steps, axis=axis)).max() < 0.2


def test_stripes_hold_single_pixels_and_run_both_ways():
    across = along = single = 0
    for seed in range(100):
        gray = draw_generated("stripes", 48, np.random.default_rng(seed))[..., 0]
        across += np.ptp(gray, axis=0).max() < 1e-6
        along += np.ptp(gray, axis=1).max() < 1e-6
        line = gray[0] if np.ptp(gray[0]) > 0.2 else gray[:, 0]
        single += np.abs(np.diff(line)).min() > 0.1
    assert across > 15
    assert along > 15
    assert single > 3


@pytest.mark.parametrize("slope", [0.5, 1.5])
def test_fields_have_the_spectrum_asked_for(slope):
    power = np.mean(
        [
            np.abs(np.fft.fft2(cloud_field(128, np.random.default_rng(i), slope))) ** 2
            for i in range(20)
        ],
        axis=0,
    )
    low, high = power[0, 4:6].mean(), power[0, 40:50].mean()
    ratio = np.log(low / high) / np.log(45 / 4.5)
    assert ratio == pytest.approx(2 * slope, abs=0.3)
