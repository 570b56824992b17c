"""JPEG XL and Netpbm files come back as they were; what they do not hold is said."""

import sys
from pathlib import Path

import numpy as np
import pytest
from tests.hostile.containers import boxed_jxl
from tests.imaging.conftest import XMP, exif_block, profile, samples

from unveil.batch.jobs import plan
from unveil.errors import ImageFileError, ImageTooLargeError, InputError, MissingExtraError
from unveil.imaging import Image, Metadata, read_image, write_image
from unveil.imaging.format_losses import losses
from unveil.imaging.formats import BMP, JXL, PPM
from unveil.imaging.heif_items import box
from unveil.imaging.jxl import read_header


@pytest.fixture
def codecs():
    return pytest.importorskip("imagecodecs")


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_jpeg_xl_comes_back(bands: int, dtype: str, codecs, tmp_path: Path) -> None:
    pixels = samples((37, 53, bands), dtype)
    (tmp_path / "a.jxl").write_bytes(codecs.jpegxl_encode(pixels, lossless=True))
    image = read_image(tmp_path / "a.jxl")
    colours = 1 if bands < 3 else 3
    np.testing.assert_array_equal(image.pixels, pixels[..., :colours])
    assert (image.alpha is None) == (bands in (1, 3))
    assert image.bits == 8 * pixels.dtype.itemsize
    # imagecodecs says of deep samples that they are linear light; a result says the same.
    assert (image.left_out == ()) == (dtype == "uint8")
    write_image(tmp_path / "b.jxl", image)
    again = read_image(tmp_path / "b.jxl")
    np.testing.assert_array_equal(again.pixels, image.pixels)
    write_image(tmp_path / "c.jxl", image, quality=90)
    assert read_image(tmp_path / "c.jxl").pixels.shape == image.pixels.shape


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("quality", [None, 95])
def test_jpeg_xl_of_a_photo_says_srgb(
    bands: int, dtype: str, quality: int | None, codecs, tmp_path: Path
) -> None:
    del codecs
    y, x = np.mgrid[:48, :64] / 64
    smooth = np.stack([x, y, 1 - x], -1)[..., : 1 if bands < 3 else 3]
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    pixels = (smooth * top).astype(dtype)
    alpha = (x * top).astype(dtype) if bands in (2, 4) else None
    write_image(tmp_path / "a.jxl", Image(pixels, alpha), quality=quality)
    back = read_image(tmp_path / "a.jxl")
    assert back.left_out == ()
    error = np.abs(back.pixels.astype(float) - pixels) / top
    assert error.max() == 0 if quality is None else error.mean() < 0.01
    if alpha is not None:
        assert np.abs(back.alpha.astype(float) - alpha).mean() / top < 0.01


def test_jpeg_xl_of_linear_light_stays_so(codecs, tmp_path: Path) -> None:
    pixels = samples((37, 53, 3), "uint16")
    (tmp_path / "a.jxl").write_bytes(codecs.jpegxl_encode(pixels, lossless=True))
    image = read_image(tmp_path / "a.jxl")
    assert "colours will look different" in image.left_out[0]
    write_image(tmp_path / "b.jxl", image)
    assert read_image(tmp_path / "b.jxl").left_out == image.left_out
    write_image(tmp_path / "c.png", image)
    write_image(tmp_path / "c.jxl", read_image(tmp_path / "c.png"))
    assert read_image(tmp_path / "c.jxl").left_out == ()


def test_jpeg_xl_carries_metadata_in_boxes(codecs, tmp_path: Path) -> None:
    del codecs
    block = exif_block(6).removeprefix(b"Exif\0\0")
    image = Image(samples((20, 30, 3)), metadata=Metadata(6, exif=block, xmp=XMP, icc=profile()))
    write_image(tmp_path / "a.jxl", image)
    back = read_image(tmp_path / "a.jxl")
    np.testing.assert_array_equal(back.pixels, image.pixels)
    assert back.metadata.exif is not None
    assert b"Model 7" in back.metadata.exif
    assert back.metadata.orientation == 1
    assert back.metadata.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    write_image(tmp_path / "b.jxl", back)
    assert read_image(tmp_path / "b.jxl").metadata == back.metadata
    assert losses(image, JXL) == []  # it says sRGB, as files without a profile mean
    wide = Image(image.pixels, metadata=Metadata(icc=b"Display P3" * 20))
    assert "the colour profile" in losses(wide, JXL)[0]


def test_compressed_boxes_of_jpeg_xl_are_read(codecs, tmp_path: Path) -> None:
    block = exif_block(6).removeprefix(b"Exif\0\0")
    data = boxed_jxl(codecs.jpegxl_encode(samples((20, 30, 3)), lossless=True))
    for kind, content in ((b"Exif", bytes(4) + block), (b"xml ", XMP), (b"Exif", b"\xff")):
        data += box(b"brob", kind + (codecs.brotli_encode(content) if len(content) > 1 else b"\1"))
        (tmp_path / "a.jxl").write_bytes(data)
        image = read_image(tmp_path / "a.jxl")
    assert image.metadata.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    (tmp_path / "a.jxl").write_bytes(data[: -len(box(b"brob", b"Exif\1"))])
    assert b"Model 7" in read_image(tmp_path / "a.jxl").metadata.exif


@pytest.mark.parametrize("shape", [(8, 8), (37, 53), (300, 400), (256, 256), (1000, 24)])
def test_headers_of_codestreams_are_understood(shape, codecs) -> None:
    for pixels in (samples((*shape, 3)), samples((*shape, 4), "uint16"), samples(shape)):
        data = codecs.jpegxl_encode(pixels, lossless=True, effort=3)
        start = data.find(b"\xff\x0a")
        header = read_header(data[start : start + 4096])
        bits = 8 * pixels.dtype.itemsize
        assert (header.width, header.height, header.bits) == (shape[1], shape[0], bits)
        assert header.is_srgb == (bits == 8)


def test_damaged_and_large_jpeg_xl_files_are_refused(codecs, tmp_path: Path) -> None:
    data = codecs.jpegxl_encode(samples((100, 100, 3)), lossless=True)
    (tmp_path / "a.jxl").write_bytes(data)
    with pytest.raises(ImageTooLargeError, match="--max-megapixels"):
        read_image(tmp_path / "a.jxl", max_megapixels=0.0099)
    for kept in (12, 40, len(data) // 2):
        (tmp_path / "a.jxl").write_bytes(data[:kept])
        with pytest.raises(ImageFileError, match="damaged or unsupported jxl") as caught:
            read_image(tmp_path / "a.jxl")
        assert "\n" not in str(caught.value)


def test_animated_jpeg_xl_is_refused(codecs, tmp_path: Path) -> None:
    frames = samples((3, 16, 16, 3))
    (tmp_path / "a.jxl").write_bytes(codecs.jpegxl_encode(frames))
    with pytest.raises(ImageFileError, match="an animation"):
        read_image(tmp_path / "a.jxl")


@pytest.mark.parametrize(
    ("name", "head", "shape", "most"),
    [
        ("a.ppm", b"P6\n# made by hand\n7 5\n255\n", (5, 7, 3), 255),
        ("a.ppm", b"P6 7 5 65535\n", (5, 7, 3), 65535),
        ("a.pgm", b"P5\n7 5\n255\n", (5, 7, 1), 255),
        ("a.pgm", b"P5\n7 5\n1023\n", (5, 7, 1), 1023),
        ("a.pnm", b"P5\n7 5\n100\n", (5, 7, 1), 100),
    ],
)
def test_netpbm_comes_back(
    name: str, head: bytes, shape: tuple[int, ...], most: int, tmp_path: Path
) -> None:
    pytest.importorskip("netpbmfile")
    dtype = ">u2" if most > 255 else "u1"
    pixels = np.random.default_rng(0).integers(0, most, shape, endpoint=True).astype(dtype)
    pixels.flat[0] = most
    (tmp_path / name).write_bytes(head + pixels.tobytes())
    image = read_image(tmp_path / name)
    top = np.iinfo(image.pixels.dtype).max
    assert image.pixels.max() == top
    np.testing.assert_allclose(image.pixels / top, pixels / most, atol=0.5 / top + 1e-9)
    write_image(tmp_path / f"b{name[1:]}", image)
    written = (tmp_path / f"b{name[1:]}").read_bytes()
    assert written.endswith(pixels.tobytes())
    assert b"%d" % most in written[:40]
    # In PNG the samples span the whole range, as their maximum says.
    write_image(tmp_path / "c.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "c.png").pixels, image.pixels)


def test_bitmaps_and_text_are_read(tmp_path: Path) -> None:
    pytest.importorskip("netpbmfile")
    (tmp_path / "a.pbm").write_bytes(b"P4\n9 2\n" + bytes([0b10000000, 0b10000000, 0, 0]))
    (tmp_path / "b.pgm").write_bytes(b"P2\n# gray\n3 2\n9\n0 9 1\n2 3 4\n")
    assert read_image(tmp_path / "b.pgm").pixels[..., 0].tolist() == [[0, 255, 28], [57, 85, 113]]
    bitmap = read_image(tmp_path / "a.pbm").pixels
    assert bitmap.shape == (2, 9, 1)
    assert set(np.unique(bitmap)) == {0, 255}
    assert bitmap[0, 0, 0] != bitmap[0, 1, 0]
    assert bitmap[0, 0, 0] == 0  # 1 is black


@pytest.mark.parametrize(
    "content",
    [
        b"P6\n7 5\n255\n" + bytes(20),
        b"P6\n999999999 999999999\n255\n" + bytes(20),
        b"P6\n0 5\n255\n",
        b"P5\n2 2\n70000\n" + bytes(100),
        b"P5\n2 2\n9\n" + bytes([1, 2, 3, 200]),
        b"P5\n2 2\n255\n" + bytes(4) + b"P5\n2 2\n255\n" + bytes(4),
        b"P2\n2 2\n9\n1 2 x\n",
        b"P6\n",
    ],
)
def test_damaged_netpbm_files_are_refused(content: bytes, tmp_path: Path) -> None:
    pytest.importorskip("netpbmfile")
    (tmp_path / "a.ppm").write_bytes(content)
    with pytest.raises(ImageFileError) as caught:
        read_image(tmp_path / "a.ppm")
    assert "\n" not in str(caught.value)


def test_what_netpbm_and_bmp_do_not_hold_is_said(tmp_path: Path) -> None:
    pytest.importorskip("netpbmfile")
    block = exif_block().removeprefix(b"Exif\0\0")
    image = Image(samples((5, 7, 3)), metadata=Metadata(exif=block, icc=b"wide" * 50, xmp=XMP))
    for kind in (PPM, BMP):
        assert losses(image, kind) == ["left out: EXIF; XMP; the colour profile"]
    with pytest.raises(InputError, match=r"holds gray; choose \.ppm"):
        write_image(tmp_path / "a.pgm", image)
    write_image(tmp_path / "a.ppm", Image(samples((5, 7, 1))))
    assert read_image(tmp_path / "a.ppm").pixels.shape == (5, 7, 3)


@pytest.mark.parametrize(
    ("name", "content", "module", "extra"),
    [
        ("a.jxl", b"\xff\x0a" + bytes(40), "imagecodecs", "jxl"),
        ("a.ppm", b"P6\n1 1\n255\n123", "netpbmfile", "pnm"),
    ],
)
def test_missing_extras_are_named(
    name: str, content: bytes, module: str, extra: str, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / name).write_bytes(content)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"unveil\[{extra}\]"):
        read_image(tmp_path / name)
    with pytest.raises(MissingExtraError, match=rf"unveil\[{extra}\]"):
        write_image(tmp_path / name, Image(samples((5, 7, 3))))


@pytest.mark.parametrize("bands", [1, 3])
def test_a_bmp_keeps_its_transparency(bands: int, tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    pixels, alpha = samples((20, 31, bands)), samples((20, 31, 1), seed=3)[..., 0]
    write_image(tmp_path / "a.bmp", Image(pixels, alpha, metadata=Metadata(density=(11.8, 11.8))))
    with pillow.open(tmp_path / "a.bmp") as file:
        assert file.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(file)[..., 3], alpha)
    image = read_image(tmp_path / "a.bmp")
    np.testing.assert_array_equal(image.pixels, np.broadcast_to(pixels, (20, 31, 3)))
    np.testing.assert_array_equal(image.alpha, alpha)
    write_image(tmp_path / "b.bmp", image)
    assert (tmp_path / "b.bmp").read_bytes() == (tmp_path / "a.bmp").read_bytes()


@pytest.mark.parametrize(
    ("name", "head", "way"),
    [
        ("a.pam", b"P7\nWIDTH 1\n", "pamtopng"),
        ("a.pfm", b"PF\n1 1\n-1.0\n", "linear light"),
        ("a.pbm", b"P4\n8 1\n\0", "pnmtopng"),
        ("a.apng", b"\x89PNG\r\n", "frames"),
    ],
)
def test_kinds_that_are_not_read_name_the_way_out(
    name: str, head: bytes, way: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(head + bytes(40))
    ((_, error),) = plan([tmp_path / name]).failed
    assert way in str(error)
