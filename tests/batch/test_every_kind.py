"""A file of every kind of `docs/files.md`, restored by a network that changes nothing."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import pyvips
from tests.imaging.conftest import XMP, exif_block, jpeg_bytes, photoshop_block, profile, samples
from tests.imaging.dng import write_dng
from tests.inference.conftest import Identity

from unveil.batch.jobs import plan
from unveil.batch.run import Outcome, Saving, restore_files
from unveil.imaging import read_image
from unveil.inference.restorer import Restorer

_REST = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 8
_CARRIED = {"exif": exif_block(6), "icc_profile": profile()}


def _smooth(dtype: str = "uint8", bands: int = 3) -> np.ndarray:
    y, x = np.mgrid[:48, :64] / 64
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    return (np.stack([x, y, 1 - x, (x + y) / 2], -1)[..., :bands] * top).astype(dtype)


def _pillow(suffix: str, pixels: np.ndarray, **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        shown = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        PIL.Image.fromarray(shown).save(folder / f"a{suffix}", **options)
        return folder / f"a{suffix}"

    return make


def _jpeg(rest: bytes = b"", **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "a.jpg").write_bytes(jpeg_bytes(_smooth(), 6, **options) + rest)
        return folder / "a.jpg"

    return make


def _tiff(pixels: np.ndarray, **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        tifffile = pytest.importorskip("tifffile")
        tifffile.imwrite(folder / "a.tif", pixels, metadata=None, **options)
        return folder / "a.tif"

    return make


def _pages(folder: Path) -> Path:
    frames = [PIL.Image.fromarray(samples((20, 30, 3), seed=i)) for i in range(3)]
    frames[0].save(folder / "a.tif", save_all=True, append_images=frames[1:])
    return folder / "a.tif"


def _avif(bits: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pixels = _smooth("uint8" if bits == 8 else "uint16")
        kind = "uchar" if bits == 8 else "ushort"
        image = pyvips.Image.new_from_memory(pixels.tobytes(), 64, 48, 3, kind)
        image = image.copy(interpretation="srgb" if bits == 8 else "rgb16")
        image.heifsave(str(folder / "a.avif"), compression="av1", bitdepth=bits, Q=90, keep="none")
        return folder / "a.avif"

    return make


def _avif_with_exif(folder: Path) -> Path:
    image = PIL.Image.fromarray(_smooth())
    image.save(folder / "a.avif", exif=exif_block(), icc_profile=profile(), xmp=XMP)
    return folder / "a.avif"


def _heic(folder: Path) -> Path:
    pytest.importorskip("pillow_heif").register_heif_opener()
    PIL.Image.fromarray(_smooth()).save(folder / "a.heic", exif=exif_block(), quality=90)
    return folder / "a.heic"


def _jxl(dtype: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        codecs = pytest.importorskip("imagecodecs")
        data = codecs.jpegxl_encode(_smooth(dtype, 4), lossless=True)
        (folder / "a.jxl").write_bytes(data)
        return folder / "a.jxl"

    return make


def _ppm(head: bytes, dtype: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pytest.importorskip("netpbmfile")
        bands = 3 if head.startswith(b"P6") else 1
        name = folder / ("a.ppm" if bands == 3 else "a.pgm")
        name.write_bytes(head + (_smooth("uint8", bands) // 3).astype(dtype).tobytes())
        return name

    return make


def _dng(folder: Path) -> Path:
    pytest.importorskip("rawpy")
    return write_dng(folder / "a.dng", preview=True, orientation=6)


_RGBA = samples((20, 30, 4), "uint16")
_KINDS: dict[str, tuple[Callable[[Path], Path], float]] = {
    "jpeg": (_jpeg(), 3),
    "jpeg progressive": (_jpeg(progressive=True, quality=70), 8),
    "jpeg with a video": (_jpeg(_REST), 3),
    "png 8": (_pillow(".png", samples((20, 30, 4)), **_CARRIED), 0),
    "png gray": (_pillow(".png", samples((20, 30, 1)), **_CARRIED), 0),
    "tiff 8": (_pillow(".tif", samples((20, 30, 3)), **_CARRIED), 0),
    "tiff 16 with infrared": (_tiff(_RGBA, photometric="rgb", extrasamples=[0]), 0),
    "tiff 16 with alpha": (_tiff(_RGBA, photometric="rgb", extrasamples=[2]), 0),
    "tiff premultiplied": (
        _tiff(np.minimum(_RGBA, _RGBA[..., 3:]), photometric="rgb", extrasamples=[1]), 0
    ),
    "tiff float": (_tiff(_smooth("float32"), photometric="rgb"), 0),
    "tiff float to 255": (
        _tiff(
            samples((20, 30, 3)).astype(np.float32), photometric="rgb",
            extratags=[(341, "f", 3, (255.0,) * 3, True)],
        ), 0,
    ),
    "tiff big-endian": (_tiff(_RGBA[..., :3], photometric="rgb", byteorder=">"), 0),
    "tiff of pages": (_pages, 0),
    "webp lossless": (
        _pillow(".webp", samples((20, 30, 4)), lossless=True, exact=True, **_CARRIED), 0
    ),
    "webp": (_pillow(".webp", _smooth(), quality=90, xmp=XMP), 6),
    "avif 8": (_avif(8), 8),
    "avif 12": (_avif(12), 6 * 257),
    "avif with exif": (_avif_with_exif, 6),
    "heic": (_heic, 6),
    "bmp": (_pillow(".bmp", samples((20, 30, 3))), 0),
    "jxl 8": (_jxl("uint8"), 0),
    "jxl 16": (_jxl("uint16"), 0),
    "jxl float": (_jxl("float32"), 0),
    "ppm": (_ppm(b"P6\n64 48\n255\n", "u1"), 0),
    "pgm 12": (_ppm(b"P5\n64 48\n4095\n", ">u2"), 0),
    "raw": (_dng, 0),
}  # fmt: skip


def _restored(source: Path) -> Outcome:
    (outcome,) = restore_files(Restorer(Identity()), plan([source]).jobs, Saving())
    assert outcome.status == "restored", outcome.reason
    return outcome


@pytest.mark.parametrize("kind", list(_KINDS))
def test_a_network_that_changes_nothing_changes_nothing(kind: str, tmp_path: Path) -> None:
    make, tolerance = _KINDS[kind]
    source = make(tmp_path)
    before, after = read_image(source), read_image(_restored(source).target)
    if kind == "raw":
        assert after.format.name == "tiff"
        np.testing.assert_array_equal(after.pixels, before.pixels)
        assert after.metadata.icc == before.metadata.icc
        return
    assert after.format is before.format
    pages = [(before, after), *zip(before.pages, after.pages, strict=True)]
    for old, new in pages:
        for name in ("pixels", "alpha", "extra"):
            was, now = getattr(old, name), getattr(new, name)
            assert (was is None) == (now is None), name
            if was is not None:
                error = np.abs(now.astype(np.float64) - was).max() if tolerance else 0
                assert error <= tolerance, name
                if not tolerance:
                    np.testing.assert_array_equal(now, was)
        assert (new.bits, new.white) == (old.bits, old.white)
        for name in ("exif", "icc", "xmp", "iptc", "orientation", "quality", "lossless"):
            assert getattr(new.metadata, name) == getattr(old.metadata, name), name
    trailers = [image.metadata.trailer for image in (before, after)]
    assert [t and t.data for t in trailers] == [_REST if "video" in kind else None] * 2


def test_an_avif_without_exif_gets_none(tmp_path: Path) -> None:
    target = _restored(_avif(8)(tmp_path)).target
    assert b"Exif" not in target.read_bytes()


def test_an_avifs_exif_is_there_byte_for_byte(tmp_path: Path) -> None:
    source = _avif_with_exif(tmp_path)
    with PIL.Image.open(source) as file:
        block = file.info["exif"].removeprefix(b"Exif\0\0")
    assert block in source.read_bytes()
    target = _restored(source).target
    assert block in target.read_bytes()
    with PIL.Image.open(target) as file:
        assert file.getexif()[272] == "Model 7"
        file.load()
    assert pyvips.Image.new_from_file(str(target)).get("exif-data").endswith(block)


def test_animations_are_named_as_such(tmp_path: Path) -> None:
    frames = [PIL.Image.fromarray(samples((16, 16, 3), seed=i)) for i in range(2)]
    for suffix in (".avif", ".webp", ".png"):
        path = tmp_path / f"a{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        (outcome,) = restore_files(Restorer(Identity()), plan([path]).jobs, Saving())
        assert "an animation" in outcome.reason


def test_floats_that_no_tag_explains_are_refused(tmp_path: Path) -> None:
    for top in (255, 65535):
        source = _tiff(_smooth("float32") * top + top / 2, photometric="rgb")(tmp_path)
        (outcome,) = restore_files(Restorer(Identity()), plan([source]).jobs, Saving(force=True))
        assert outcome.status == "failed"
        assert "divide by 255" in outcome.reason


def test_iptc_is_in_the_files_of_this_test() -> None:
    assert photoshop_block() in jpeg_bytes(_smooth())
    assert io.BytesIO(_REST).read(12).endswith(b"mp42")
