"""Strength: luminance and colour are blended apart, each exactly as asked."""

import math
from pathlib import Path

import numpy as np
import pytest

from unveil.errors import InputError
from unveil.imaging import Image, read_image, write_image
from unveil.imaging.formats import format_named
from unveil.inference import Restorer
from unveil.inference.options import RestoreOptions
from unveil.inference.strength import LUMA_WEIGHTS, Strength

_RNG = np.random.default_rng(3)


def _luminance(x: np.ndarray) -> np.ndarray:
    return np.asarray(x.astype(np.float64) @ np.array(LUMA_WEIGHTS))


@pytest.mark.parametrize(("luma", "chroma"), [(1, 0), (0, 1), (0.3, 0.8), (0.5, 0.5), (0, 0)])
def test_luminance_and_colour_take_their_own_share(luma: float, chroma: float) -> None:
    change = _RNG.normal(0, 0.1, (7, 9, 3)).astype(np.float32)
    scaled = Strength(luma, chroma).scaled(change)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(_luminance(scaled), luma * _luminance(change), atol=1e-7)
    colour = scaled - _luminance(scaled)[..., None]
    expected = chroma * (change - _luminance(change)[..., None])
    np.testing.assert_allclose(colour, expected, atol=1e-7)


def test_gray_has_luminance_only() -> None:
    change = _RNG.normal(0, 0.1, (4, 5, 1)).astype(np.float32)
    np.testing.assert_array_equal(Strength(0.25, 1.0).scaled(change), 0.25 * change)


def test_each_share_is_that_of_strength_unless_given() -> None:
    assert RestoreOptions(strength=0.4).applied == Strength(0.4, 0.4)
    assert RestoreOptions(strength=0.4, strength_luma=1).applied == Strength(1.0, 0.4)
    assert RestoreOptions(strength=0.4, strength_chroma=0).applied == Strength(0.4, 0.0)


@pytest.mark.parametrize("name", ["strength", "strength_luma", "strength_chroma"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, "1"])
def test_what_is_no_share_is_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^{name} is 0 to 1"):
        Restorer("identity", **{name: value})  # type: ignore[arg-type]


def test_a_file_restored_without_colour_keeps_its_colours(tmp_path: Path) -> None:
    """Float samples are not clipped, so that colours can be compared exactly."""
    pixels = _RNG.random((40, 48, 3), dtype=np.float32)
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    write_image(source, Image(pixels, format=format_named("tiff")))
    whole = Restorer("cu_mamba_small").restore_image(read_image(source)).pixels - pixels
    Restorer("cu_mamba_small", strength_chroma=0).restore_file(source, target)
    change = read_image(target).pixels - pixels
    np.testing.assert_allclose(change, np.repeat(_luminance(whole)[..., None], 3, 2), atol=2e-6)
    assert np.abs(whole - change).max() > 1e-3
