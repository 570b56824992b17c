"""Files of every kind, as other programs write them."""

import functools
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.TiffImagePlugin
import pytest

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6">caf\xc3\xa9</a></x:xmpmeta>'
IPTC = b"\x1c\x02\x05\x00\x05title"


def samples(shape: tuple[int, ...], dtype: str = "uint8", seed: int = 0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.normal(0.5, 2.0, shape).astype(np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@functools.cache
def profile() -> bytes:
    return PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def exif_block(orientation: int = 1) -> bytes:
    exif = PIL.Image.Exif()
    exif[271], exif[272], exif[274], exif[306] = (
        "Maker",
        "Model 7",
        orientation,
        "2024:05:06 07:08:09",
    )
    exif.get_ifd(34665).update({33434: (1, 250), 34855: 800, 37500: b"maker\0note" * 20})
    exif.get_ifd(34853).update({1: "N", 2: (47.0, 22.0, 8.5)})
    return exif.tobytes()


def photoshop_block() -> bytes:
    size = struct.pack(">I", len(IPTC))
    return b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + size + IPTC + b"\0" * (len(IPTC) % 2)


def jpeg_bytes(pixels: np.ndarray[Any, Any], orientation: int = 1, **options: Any) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(
        buffer,
        "JPEG",
        **{"quality": 88, "exif": exif_block(orientation), "icc_profile": profile(), "xmp": XMP}
        | {"dpi": (300, 300), "comment": b"hello"}
        | options,
    )
    whole = buffer.getvalue()
    block = photoshop_block()
    return whole[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + whole[2:]


@pytest.fixture
def jpeg_file(tmp_path: Path) -> Callable[..., Path]:
    def make(orientation: int = 1, gray: bool = False, **options: Any) -> Path:
        path = tmp_path / "photo.jpg"
        pixels = samples((37, 51) if gray else (37, 51, 3))
        path.write_bytes(jpeg_bytes(pixels, orientation, **options))
        return path

    return make
