"""Files are read whole and right, or refused in one line."""

import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import pyvips
from tests.imaging.conftest import exif_block, jpeg_bytes, profile, samples

from unveil.errors import ImageFileError, MissingExtraError
from unveil.imaging import load_rgb, read_image, scratch, write_image
from unveil.imaging.image import Image


def _vips(pixels: np.ndarray) -> pyvips.Image:
    h, w, c = pixels.shape
    kind = {"uint8": "uchar", "uint16": "ushort"}[pixels.dtype.name]
    return pyvips.Image.new_from_memory(pixels.tobytes(), w, h, c, kind)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif_keeps_depth_and_metadata(bits: int, tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 48 * 3).reshape(48, 64, 3)
    pixels = (ramp / (257 if bits == 8 else 1)).astype("uint8" if bits == 8 else "uint16")
    space = "srgb" if bits == 8 else "rgb16"
    image = _vips(pixels).copy(interpretation=space)
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile())
    image.set_type(pyvips.GValue.blob_type, "exif-data", exif_block())
    image.heifsave(str(tmp_path / "a.avif"), compression="av1", bitdepth=bits, Q=95)
    before = read_image(tmp_path / "a.avif")
    assert (before.bits, before.pixels.dtype) == (bits, pixels.dtype)
    assert before.pixels.max() > (250 if bits == 8 else 65_000)
    write_image(tmp_path / "b.avif", before, quality=99)
    after = read_image(tmp_path / "b.avif")
    assert (after.bits, after.metadata.icc) == (bits, profile())
    assert b"Model 7" in after.metadata.exif
    scale = 1 if bits == 8 else 257
    assert np.abs(after.pixels.astype(int) - before.pixels.astype(int)).mean() < 2 * scale


def test_heic_is_read_and_written_through_pillow(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    flat = PIL.Image.fromarray(np.full((48, 64, 3), 90, np.uint8))
    flat.save(tmp_path / "a.heic", exif=exif_block(), icc_profile=profile())
    before = read_image(tmp_path / "a.heic")
    assert before.format.name == "heic"
    assert before.metadata.icc == profile()
    write_image(tmp_path / "b.heic", before)
    after = read_image(tmp_path / "b.heic")
    assert after.pixels.shape == (48, 64, 3)
    assert np.abs(after.pixels.astype(int) - 90).max() <= 3
    assert after.metadata.exif == before.metadata.exif


@pytest.mark.parametrize(("mode", "channels"), [("I;16", 1), ("RGB;16", 3), ("RGBA;16", 4)])
def test_heic_of_ten_bits_keeps_them(mode: str, channels: int, tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None, :, None]
    pixels = np.broadcast_to(ramp, (48, 64, channels)).copy()
    pillow_heif.from_bytes(mode=mode, size=(64, 48), data=pixels.tobytes()).save(
        tmp_path / "a.heic", quality=95, icc_profile=profile()
    )
    before = read_image(tmp_path / "a.heic")
    assert (before.bits, before.pixels.dtype, before.metadata.icc) == (10, np.uint16, profile())
    assert before.pixels.shape == (48, 64, min(channels, 3))
    assert (before.alpha is None) == (channels < 4)
    # Not 8 bits spread out: neighbouring steps of the ramp differ by less than 257.
    assert np.abs(before.pixels.astype(int) - pixels[..., :3]).mean() < 150
    assert before.pixels.max() == 65535
    write_image(tmp_path / "b.heic", before, quality=95)
    after = read_image(tmp_path / "b.heic")
    assert (after.bits, after.metadata.icc) == (10, profile())
    assert np.abs(after.pixels.astype(int) - before.pixels.astype(int)).mean() < 150
    write_image(tmp_path / "b.png", before)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").pixels, before.pixels)


@pytest.mark.parametrize("suffix", [".avif", ".heic"])
def test_samples_are_rounded_to_ten_bits(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    steps = np.array([0, 40, 32768, 32800, 65500, 65535], np.uint16)
    flat = np.repeat(steps, 64)[None, :, None] * np.ones((64, 1, 3), np.uint16)
    write_image(tmp_path / f"a{suffix}", Image(flat, bits=10), quality=100)
    back = read_image(tmp_path / f"a{suffix}")
    inner = back.pixels[20:40].reshape(20, 6, 64, 3)[:, :, 20:44].astype(int).mean((0, 2, 3))
    # Half a step of 10 bits is 32; codecs at quality 100 round chroma by a step more.
    assert np.abs(inner - steps).max() <= 32 + 64
    assert inner[0] <= 64
    assert inner[-1] >= 65535 - 64


def test_missing_pillow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.Image.fromarray(samples((4, 4, 3))).save(tmp_path / "a.bmp")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"bmp.*unveil\[heic\]"):
        read_image(tmp_path / "a.bmp")


def test_load_rgb_repeats_gray_and_drops_alpha(tmp_path: Path) -> None:
    gray_alpha = samples((9, 7, 2))
    _vips(gray_alpha).copy(interpretation="b-w").write_to_file(str(tmp_path / "a.png"))
    pixels = load_rgb(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, gray_alpha[..., :1].repeat(3, axis=2))
    assert pixels.flags.c_contiguous


def _cmyk(path: Path) -> None:
    PIL.Image.fromarray(samples((8, 8, 4)), "CMYK").save(path)


def _pages(path: Path) -> None:
    frames = [PIL.Image.fromarray(samples((8, 8, 3), seed=i)) for i in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _lab(path: Path) -> None:
    PIL.Image.fromarray(samples((8, 8, 3)), "LAB").save(path)


def _signed(path: Path) -> None:
    PIL.Image.fromarray(samples((8, 8), "uint16").astype(np.int32)).save(path)


def _text(path: Path) -> None:
    path.write_text("this is no picture\n" * 10)


def _bomb_png(path: Path) -> None:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    data = zlib.compress(bytes(1000))
    body = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    idat = b"IDAT" + data
    body += struct.pack(">I", len(data)) + idat + struct.pack(">I", zlib.crc32(idat))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + b"\0\0\0\0IEND\xaeB`\x82")


_REFUSED = {
    "cmyk.jpg": (_cmyk, "CMYK"),
    "cmyk.tif": (_cmyk, "CMYK"),
    "frames.webp": (_pages, "animation"),
    "frames.png": (_pages, "animation"),
    "frames.gif": (_pages, "a GIF file; convert it to PNG"),
    "lab.tif": (_lab, "CIELAB"),
    "signed.tif": (_signed, "samples of type int"),
    "text.jpg": (_text, "no image we can read"),
    "empty.png": (lambda path: path.touch(), "empty"),
    "folder.png": (lambda path: path.mkdir(), "cannot be read"),
    "missing.png": (lambda _: None, "cannot be read: No such file"),
    "pipe.png": (os.mkfifo, "png: a pipe or a device"),
    "device.png": (lambda path: path.symlink_to("/dev/zero"), "png: a pipe or a device"),
    "itself.png": (lambda path: path.symlink_to(path), "cannot be read: Too many levels"),
    "bomb.png": (_bomb_png, "3600 megapixels, above the limit of 250"),
}


@pytest.mark.parametrize("name", list(_REFUSED))
def test_what_cannot_be_restored_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make, message = _REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(ImageFileError, match=message) as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(name) == 1


def test_the_size_limit_can_be_raised_and_lowered(tmp_path: Path) -> None:
    PIL.Image.fromarray(samples((100, 100, 3))).save(tmp_path / "a.png")
    read_image(tmp_path / "a.png", max_megapixels=0.01)
    with pytest.raises(ImageFileError, match="--max-megapixels"):
        read_image(tmp_path / "a.png", max_megapixels=0.0099)


@pytest.mark.parametrize("suffix", [".bmp", ".heic"])
def test_the_size_limit_is_ours_for_what_pillow_reads(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(samples((100, 100, 3))).save(path)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    assert read_image(path).pixels.shape == (100, 100, 3)
    with pytest.raises(ImageFileError, match="--max-megapixels"):
        read_image(path, max_megapixels=0.0099)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif", ".bmp"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(suffix: str, kept: float, tmp_path: Path) -> None:
    whole = tmp_path / f"whole{suffix}"
    PIL.Image.fromarray(samples((64, 64, 3))).save(whole)
    data = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageFileError):
        read_image(cut)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for seed in range(2):
        PIL.Image.fromarray(samples((16, 16, 3), seed=seed)).save(path)
        np.testing.assert_array_equal(read_image(path).pixels, samples((16, 16, 3), seed=seed))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_large_images_wait_on_disk_and_read_the_same(
    orientation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_bytes(samples((150, 90, 3)), orientation))
    small = read_image(path)
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 1000)
    large = read_image(path)
    assert isinstance(large.pixels, np.memmap)
    np.testing.assert_array_equal(large.pixels, small.pixels)
    write_image(tmp_path / "b.jpg", large)
    write_image(tmp_path / "c.jpg", small)
    assert (tmp_path / "b.jpg").read_bytes() == (tmp_path / "c.jpg").read_bytes()
