"""Banding is measured as its docstring says."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d

from unveil.errors import InputError
from unveil.metrics import banding


def _reference(restored, clean):
    error = (restored.astype(np.float64) - clean).mean(axis=2)
    found = []
    for axis in (0, 1):
        for start in range(0, error.shape[axis] - 63, 64):
            line = np.take(error, range(start, start + 64), axis=axis).mean(axis=axis)
            rest = line - uniform_filter1d(line, 65, mode="nearest")
            found.append(np.sqrt(np.mean(rest**2)))
    return np.mean(found)


@pytest.mark.parametrize("shape", [(64, 64), (240, 70), (105, 240), (20, 130)])
def test_it_agrees_with_a_plain_reference(shape):
    rng = np.random.default_rng(0)
    clean = rng.uniform(0, 255, (*shape, 3))
    restored = clean + rng.normal(0, 3, clean.shape) + rng.normal(0, 2, (shape[0], 1, 1))
    assert banding(restored, clean, data_range=255) == pytest.approx(_reference(restored, clean))
    assert banding(restored / 255, clean / 255, data_range=1) == pytest.approx(
        banding(restored, clean, data_range=255)
    )


def test_smooth_errors_are_not_bands_and_noise_counts_an_eighth():
    clean = np.full((256, 256, 3), 128.0)
    ramp = np.linspace(-20, 20, 256)[:, None, None]
    # The ends of the window are repeated, so that a ramp counts a little at the rim.
    assert banding(clean + ramp, clean, data_range=255) < 0.45
    noise = np.repeat(np.random.default_rng(1).normal(0, 8, (256, 256, 1)), 3, axis=2)
    assert banding(clean + noise, clean, data_range=255) == pytest.approx(1, rel=0.03)


def test_bands_of_either_direction_count_alike_and_in_full():
    clean = np.full((128, 128, 3), 100.0)
    rows = clean + 2 * np.sign(np.sin(np.arange(128) / 2))[:, None, None]
    ours = banding(rows, clean, data_range=255)
    assert ours == pytest.approx(banding(rows.transpose(1, 0, 2), clean, data_range=255))
    # Half of the strips see bands of 2 levels, the others none.
    assert ours == pytest.approx(1, rel=0.05)


def test_what_is_too_small_is_refused():
    small = np.zeros((63, 40, 3))
    with pytest.raises(InputError, match="side of 64 pixels: got 40×63"):
        banding(small, small, data_range=255)
