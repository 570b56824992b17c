"""Windows are cut with mirrored borders and degraded as parts of their photo."""

import numpy as np
import pytest

from unveil.data.crop import cut, degrade_window
from unveil.degradations import parse
from unveil.imaging.convert import to_unit


@pytest.mark.parametrize("corner", [(-3, -4), (0, 0), (5, 8), (-20, 3)])
@pytest.mark.parametrize("size", [(4, 4), (9, 30)])
def test_windows_agree_with_a_padded_photo(corner, size):
    photo = np.random.default_rng(0).random((7, 9, 3))
    padded = np.pad(photo, ((40, 40), (40, 40), (0, 0)), mode="symmetric")
    (top, left), (height, width) = corner, size
    expected = padded[40 + top : 40 + top + height, 40 + left : 40 + left + width]
    assert np.array_equal(cut(photo, top, left, height, width), expected)


@pytest.mark.parametrize("corner", [(0, 0), (3, 5), (16, 24), (34, 44)])
def test_a_blurred_window_is_the_blurred_photos_part(corner):
    pipeline = parse("blur:defocus,radius=4")
    photo = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    whole = pipeline(to_unit(photo), np.random.default_rng(0))
    part, _ = degrade_window(photo, pipeline, np.random.default_rng(0), corner, (16, 16))
    top, left = corner
    assert np.abs(part - whole[top : top + 16, left : left + 16]).max() < 1e-4


def test_a_window_begins_on_the_block_grid_whatever_its_place():
    """A window of the photo's own blocks is compressed as those blocks are."""
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8).repeat(3, axis=2)
    text = "blur:motion,length=0+jpeg:quality=30"
    pipeline = parse(text)
    assert pipeline.margin == 8
    moved, _ = degrade_window(photo, pipeline, np.random.default_rng(0), (19, 21), (16, 16))
    alone = parse("jpeg:quality=30")(to_unit(photo[19:35, 21:37]), np.random.default_rng(0))
    assert np.abs(moved - alone).max() < 2.5 / 255
