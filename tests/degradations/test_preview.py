"""The contact sheet shows every degradation at three strengths."""

import numpy as np

from unveil.degradations import CATALOGUE
from unveil.degradations.preview import contact_sheet


def test_the_sheet_has_a_row_each_and_three_columns():
    photo = np.random.default_rng(0).random((60, 80, 3), dtype=np.float32)
    sheet = contact_sheet(photo, width=40)
    assert sheet.shape == (len(CATALOGUE) * (30 + 20 + 4) + 4, 3 * 44 + 4, 3)
    assert 0 <= sheet.min() <= sheet.max() <= 1


def test_the_sheet_is_reproducible():
    photo = np.random.default_rng(0).random((20, 30, 3), dtype=np.float32)
    first, second, other = (contact_sheet(photo, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
