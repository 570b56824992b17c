"""The contact sheet shows every degradation at three strengths, and every preset."""

import numpy as np

from unveil.degradations import CATALOGUE
from unveil.degradations.contact_sheet import contact_sheet, preset_rows


def test_the_sheet_has_rows_of_three():
    photo = np.random.default_rng(0).random((60, 80, 3), dtype=np.float32)
    sheet = contact_sheet(photo, width=40)
    rows = len(CATALOGUE) + sum(len(preset_rows(entry)) for entry in CATALOGUE.values())
    assert sheet.shape == (rows * (30 + 20 + 4) + 4, 3 * 44 + 4, 3)
    assert 0 <= sheet.min() <= sheet.max() <= 1


def test_the_sheet_is_reproducible():
    photo = np.random.default_rng(0).random((20, 30, 3), dtype=np.float32)
    first, second, other = (contact_sheet(photo, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_every_style_of_rain_and_haze_is_shown():
    shown = {
        text for name in ("rain", "haze") for row in preset_rows(CATALOGUE[name]) for text in row
    }
    assert {"rain:layer", "rain:sheet", "rain:drops", "haze:dusk", "haze:room"} <= shown
