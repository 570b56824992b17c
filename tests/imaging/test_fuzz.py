"""Damaged files never end in anything but pixels or one line."""

import faulthandler
import io
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.imaging.conftest import XMP, exif_block, jpeg_bytes, profile, samples

from unveil.errors import UnveilError
from unveil.imaging import read_image, write_image

faulthandler.enable()
_SUFFIXES = [".jpg", ".png", ".tif", ".webp", ".avif", ".bmp", ".heic"]


def seed_file(suffix: str) -> bytes:
    if suffix == ".jpg":
        return jpeg_bytes(samples((40, 40, 3)), 6)
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if suffix == ".jxl":
        codecs = pytest.importorskip("imagecodecs")
        return bytes(codecs.jpegxl_encode(samples((40, 40, 3)), lossless=True))
    options = {".bmp": {}, ".ppm": {}}.get(
        suffix, {"exif": exif_block(6), "icc_profile": profile()}
    )
    if suffix == ".webp":
        options = {**options, "xmp": XMP, "lossless": True}
    buffer = io.BytesIO()
    kind = {".jpg": "JPEG", ".tif": "TIFF", ".heic": "HEIF"}.get(suffix, suffix[1:].upper())
    PIL.Image.fromarray(samples((40, 40, 3))).save(buffer, kind, **options)
    return buffer.getvalue()


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, overwrite, cut out, repeat or cut off; half of all changes hit the header."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        end = len(out) if rng.random() < 0.5 else min(len(out), 300)
        at = int(rng.integers(0, max(end, 1)))
        size = int(rng.integers(1, 9))
        match rng.integers(0, 5):
            case 0:
                out[at : at + 1] = bytes([rng.integers(0, 256)])
            case 1:
                out[at : at + size] = rng.choice([b"\xff", b"\0", b"\x7f"]).item() * size
            case 2:
                del out[at : at + size]
            case 3:
                out[at:at] = out[at : at + size]
            case 4 if rng.random() < 0.2:
                del out[max(at, 12) :]
    return bytes(out)


def _fuzz(suffix: str, rounds: int, folder: Path) -> None:
    data, rng = seed_file(suffix), np.random.default_rng(7)
    source, target = folder / f"in{suffix}", folder / f"out{suffix}"
    for _ in range(rounds):
        source.write_bytes(mutated(data, rng))
        try:
            image = read_image(source, max_megapixels=1.0)
            write_image(target, image)
        except UnveilError as error:
            assert "\n" not in str(error)  # noqa: PT017 - the point is what may be raised
            assert not target.exists()
        target.unlink(missing_ok=True)
        assert os.listdir(folder) == [source.name]


@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_mutated_files_are_read_or_refused(suffix: str, tmp_path: Path) -> None:
    _fuzz(suffix, 25 if suffix in (".avif", ".heic") else 120, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_thousands_of_mutated_files_are_read_or_refused(suffix: str, tmp_path: Path) -> None:
    _fuzz(suffix, 500 if suffix in (".avif", ".heic") else 3000, tmp_path)
