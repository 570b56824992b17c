"""Previews are what the photo looks like in 8 bits."""

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from unveil.imaging import Image, Metadata
from unveil.serve.preview import reduced, to_preview, write_preview


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_depth_becomes_8_bits_rounded(dtype: str, white: int, channels: int) -> None:
    values = np.random.default_rng(0).random((1100, 7, channels)) * white
    pixels = values.astype(dtype)
    made = to_preview(pixels)
    assert (made.dtype, made.shape) == (np.dtype("uint8"), (1100, 7, 3))
    exact = np.broadcast_to(pixels.astype(np.float64) * 255 / white, made.shape)
    assert np.abs(made - exact).max() <= 0.5 + 1e-3


def test_floats_beyond_white_and_nan_stay_in_range() -> None:
    pixels = np.array([[[-1.0], [2.0], [np.nan]]], np.float32)
    assert to_preview(pixels)[0, :, 0].tolist() == [0, 255, 0]


def test_a_preview_keeps_size_and_profile(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    with PIL.Image.open(
        write_preview(tmp_path / "p.jpg", Image(pixels, metadata=Metadata(icc=profile)))
    ) as made:
        assert (made.format, made.size) == ("JPEG", (47, 33))
        assert made.info["icc_profile"] == profile


def test_what_jpeg_cannot_count_is_thinned_out(tmp_path: Path) -> None:
    pixels = np.zeros((3, 70_000, 3), np.uint8)
    with PIL.Image.open(write_preview(tmp_path / "p.jpg", Image(pixels))) as made:
        assert made.size == (35_000, 2)


def test_reduced_takes_means() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    exact = pixels.reshape(2, 2, 2, 2, 3).mean((1, 3))
    np.testing.assert_array_equal(reduced(pixels, 2), np.rint(exact))
    assert reduced(pixels, 100).shape == (1, 1, 3)
