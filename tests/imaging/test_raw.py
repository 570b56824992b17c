"""Raw photographs are developed to the colours of the scene they were made of."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.imaging.dng import NOTE, scene, write_dng

from unveil.errors import ImageFileError, ImageTooLargeError, InputError, MissingExtraError
from unveil.imaging import Develop, read_image, write_image
from unveil.imaging.formats import RAW, format_named, format_of_file

pytest.importorskip("rawpy")

# Where the parts of `scene` are, away from their borders.
_GRAY, _ORANGE, _WHITE, _RED, _BRIGHT = (50, 40), (50, 100), (10, 10), (30, 10), (80, 10)


def _linear(samples: np.ndarray) -> np.ndarray:
    value = samples / 65535
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _developed(path: Path, develop: str = "", **options: Any) -> np.ndarray:
    write_dng(path, **options)
    image = read_image(path, develop=Develop.parse(develop))
    assert image.format is RAW
    assert image.pixels.dtype == np.uint16
    return image.pixels


_KINDS: dict[str, dict[str, Any]] = {
    "mosaic": {},
    "12 bits": {"bits": 12, "black": 64, "white": 4095},
    "14 bits": {"bits": 14, "black": 1024, "white": 16383},
    "big-endian": {"order": ">"},
    "other pattern": {"pattern": (1, 0, 2, 1)},
    "preview first": {"preview": True},
    "lossless JPEG": {"lossless_jpeg": True, "preview": True},
    "whole colours": {"linear": True},
    "whole colours after a preview": {"linear": True, "preview": True},
}


@pytest.mark.parametrize("kind", list(_KINDS))
def test_colours_are_those_of_the_scene(kind: str, tmp_path: Path) -> None:
    pixels = _developed(tmp_path / "a.dng", **_KINDS[kind])
    assert pixels.shape == (96, 128, 3)
    for place in (_GRAY, _ORANGE):
        np.testing.assert_allclose(_linear(pixels[place]), scene()[place], atol=0.002)


def test_highlights_are_kept_or_clipped(tmp_path: Path) -> None:
    kept = _developed(tmp_path / "a.dng")
    red, white, bright = (_linear(kept[place]) for place in (_RED, _WHITE, _BRIGHT))
    # Above 0.8 light is compressed, so that what the sensor saw above white stays apart from it.
    assert 0.8 < red[0] < 0.95
    np.testing.assert_allclose(red[1:], [0.3, 0.2], atol=0.002)
    assert white.min() > 0.85
    assert np.ptp(white) < 0.002
    assert bright.min() > 0.99
    clipped = _developed(tmp_path / "a.dng", "highlights=clip")
    np.testing.assert_allclose(_linear(clipped[_RED]), [0.95, 0.3, 0.2], atol=0.002)
    assert (clipped[_WHITE] > 65000).all()
    assert (clipped[_BRIGHT] == 65535).all()


def test_light_between_white_and_saturation_rises_without_tint(tmp_path: Path) -> None:
    ramp = np.linspace(0.5, 3, 128)[None, :, None] * np.ones((96, 1, 3))
    pixels = _developed(tmp_path / "a.dng", light=ramp)[48]
    value = _linear(pixels)
    assert (np.diff(value.max(-1)[2:-2]) >= -1e-3).all()
    assert np.ptp(value, axis=-1).max() < 0.06


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_pixels_are_upright(orientation: int, tmp_path: Path) -> None:
    plain = _developed(tmp_path / "a.dng")
    turned = _developed(tmp_path / "b.dng", orientation=orientation)
    turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    np.testing.assert_array_equal(turned, np.rot90(plain, turns))
    write_image(tmp_path / "b.tif", read_image(tmp_path / "b.dng"))
    with PIL.Image.open(tmp_path / "b.tif") as file:
        assert file.size == (turned.shape[1], turned.shape[0])
        assert file.getexif()[274] == 1


def test_the_picture_is_what_the_camera_crops_to(tmp_path: Path) -> None:
    whole = _developed(tmp_path / "a.dng", active=(4, 6, 92, 124))
    assert whole.shape == (88, 118, 3)
    cropped = _developed(tmp_path / "b.dng", active=(4, 6, 92, 124), crop=(2, 4, 110, 80))
    np.testing.assert_array_equal(cropped, whole[4:84, 2:112])
    turned = _developed(
        tmp_path / "c.dng", active=(4, 6, 92, 124), crop=(2, 4, 110, 80), orientation=6
    )
    np.testing.assert_array_equal(turned, np.rot90(cropped, -1))


def test_exposure_follows_the_file_and_the_option(tmp_path: Path) -> None:
    for options, develop in (({"baseline": 1.0}, ""), ({}, "exposure=1")):
        pixels = _developed(tmp_path / "a.dng", develop, **options)
        np.testing.assert_allclose(_linear(pixels[_GRAY]), 0.36, atol=0.003)
    pixels = _developed(tmp_path / "a.dng", "exposure=-0.5", baseline=0.5)
    np.testing.assert_allclose(_linear(pixels[_GRAY]), 0.18, atol=0.002)


def test_a_file_without_white_level_is_not_dark(tmp_path: Path) -> None:
    pixels = _developed(tmp_path / "a.dng", white=None)
    assert 0.14 < _linear(pixels[_GRAY])[1] < 0.2


def test_white_balance_can_be_daylights_or_estimated(tmp_path: Path) -> None:
    daylight = _developed(tmp_path / "a.dng", "white-balance=daylight")
    np.testing.assert_allclose(_linear(daylight[_GRAY]), 0.18, atol=0.003)
    flat = np.full((96, 128, 3), [0.3, 0.2, 0.1])
    estimated = _linear(_developed(tmp_path / "a.dng", "white-balance=auto", light=flat)[_GRAY])
    assert np.ptp(estimated) < 0.02  # gray world


def test_exif_and_maker_notes_come_along(tmp_path: Path) -> None:
    block = b"\x1c\x02\x5a\0\x04Bern"
    write_dng(tmp_path / "a.dng", exif=True, xmp=b"<x>rating</x>", iptc=block)
    image = read_image(tmp_path / "a.dng")
    assert image.metadata.xmp == b"<x>rating</x>"
    assert image.metadata.iptc == block
    for name in ("b.tif", "b.png", "b.jpg"):
        write_image(tmp_path / name, image)
        with PIL.Image.open(tmp_path / name) as file:
            exif = file.getexif()
            inner = exif.get_ifd(34665)
            assert (exif[271], exif[272], inner[34855]) == ("Maker", "Model 7", 800)
            assert inner[36867] == "2026:05:06 07:08:09"
            assert inner[37500] == NOTE
            assert file.info["icc_profile"] == image.metadata.icc
    # The result is no DNG, and must not be taken for one.
    assert format_of_file(tmp_path / "b.tif").name == "tiff"
    with PIL.Image.open(tmp_path / "b.tif") as file:
        assert not any(tag >= 50706 for tag in file.tag_v2)


def test_a_converters_settings_are_not_applied_twice(tmp_path: Path) -> None:
    packet = b'<x xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:Exposure="+1"/>'
    image = read_image(write_dng(tmp_path / "a.dng", xmp=packet))
    assert image.metadata.xmp is None
    assert image.left_out == ("a raw converter's settings in its XMP",)


def test_the_extra_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dng(tmp_path / "a.dng")
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(MissingExtraError, match=r"raw photographs.*unveil\[raw\]"):
        read_image(tmp_path / "a.dng")


def test_a_raw_is_recognised_by_what_it_holds(tmp_path: Path) -> None:
    for options in ({}, {"preview": True}, {"linear": True}):
        write_dng(tmp_path / "a.tif", **options)
        assert format_of_file(tmp_path / "a.tif") is RAW
    heads = {
        "a.raf": b"FUJIFILMCCD-RAW 0201",
        "a.orf": b"IIRO\x08\0\0\0",
        "a.rw2": b"IIU\0\x18\0\0\0",
        "a.cr2": b"II*\0\x10\0\0\0CR\2\0",
        "a.cr3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    }
    for name, head in heads.items():
        (tmp_path / name).write_bytes(head.ljust(300, b"\0"))
        assert format_of_file(tmp_path / name) is RAW
        with pytest.raises(ImageFileError, match="damaged or unsupported raw") as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_damaged_and_oversized_files_are_refused(tmp_path: Path) -> None:
    content = write_dng(tmp_path / "a.dng").read_bytes()
    for kept in (0.3, 0.5, 0.9, 0.99):
        (tmp_path / "cut.dng").write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(ImageFileError):
            read_image(tmp_path / "cut.dng")
    with pytest.raises(ImageTooLargeError, match="--max-megapixels"):
        read_image(tmp_path / "a.dng", max_megapixels=0.012)


@pytest.mark.parametrize(
    "text", ["contrast=1", "highlights=blend", "exposure=9", "exposure=bright", "white-balance"]
)
def test_unknown_options_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="develop") as caught:
        Develop.parse(text)
    assert "\n" not in str(caught.value)


def test_raw_files_are_not_written(tmp_path: Path) -> None:
    image = read_image(write_dng(tmp_path / "a.dng"))
    with pytest.raises(InputError, match="read, not written"):
        write_image(tmp_path / "b.dng", image)
    with pytest.raises(ImageFileError, match="read, not written"):
        format_named("dng")
