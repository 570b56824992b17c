"""Files are refused by what their headers claim, before any decoder is started.

No file here is harmful: the limits are lowered instead.
"""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.imaging.conftest import samples

from unveil.errors import ImageFileError, ImageTooLargeError
from unveil.imaging import header_limits, read, read_image
from unveil.imaging.formats import format_named
from unveil.imaging.header_limits import check_declared


def _encoded(name: str, side: int = 64, **options: Any) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(samples((side, side, 3))).save(buffer, name, **options)
    return buffer.getvalue()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png(width: int, height: int, *, interlaced: bool = False, bits: int = 8) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, interlaced)
    rows = zlib.compress(bytes(2 * height * (1 + 3 * width * bits // 8)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(name, body) for name, body in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    )


def _tiff(big: bool = False, **tags: int) -> bytes:
    """Return a directory that claims something, and nothing after it."""
    numbers = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262,
               "samples": 277, "rows": 278, "planar": 284, "tile_width": 322,
               "tile_height": 323}  # fmt: skip
    entries = {"width": 64, "height": 64, "bits": 8, "compression": 1, "samples": 3} | tags
    shape, pointer = ("<HHQQ", "<Q") if big else ("<HHII", "<I")
    body = struct.pack("<Q" if big else "<H", len(entries))
    for name, value in sorted(entries.items(), key=lambda entry: numbers[entry[0]]):
        body += struct.pack(shape, numbers[name], 4, 1, value)
    head = b"II+\0" + struct.pack("<HHQ", 8, 0, 16) if big else b"II*\0" + struct.pack("<I", 8)
    return head + body + struct.pack(pointer, 0)


def _written(tmp_path: Path, data: bytes, suffix: str) -> Path:
    path = tmp_path / f"claims.{suffix}"
    path.write_bytes(data)
    return path


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("a decoder was started")

    monkeypatch.setattr(read, "open_image", started)


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        ("png", _png(4000, 4)),
        ("tif", _tiff(width=4000, height=4)),
        ("tif", _tiff(width=4, height=4000)),
        ("tif", _tiff(big=True, width=4000, height=4)),
        ("tif", _tiff(width=4000, height=4)[:-4]),  # no room for the next directory's offset
        ("jpg", _encoded("JPEG", 3000)),
        ("webp", _encoded("WEBP", 3000)),
    ],
)
def test_a_long_side_is_refused(
    suffix: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header_limits, "MOST_SIDE", 2000)
    with pytest.raises(ImageTooLargeError, match="sides of up to 2,000 are read"):
        read_image(_written(tmp_path, data, suffix))


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(
    ("suffix", "data", "why"),
    [
        ("png", _png(300, 300, interlaced=True), "an interlaced PNG"),
        ("jpg", _encoded("JPEG", 300, progressive=True), "a progressive JPEG"),
        ("webp", _encoded("WEBP", 300), "a WebP"),
        ("webp", _encoded("WEBP", 300, lossless=True), "a WebP"),
        (
            "tif",
            _tiff(compression=7, width=300, height=300, tile_width=304, tile_height=304),
            "strips or tiles",
        ),
        ("tif", _tiff(compression=7, width=300, height=300, rows=300, planar=2), "strips or tiles"),
    ],
)
def test_what_is_held_whole_is_bounded_by_memory(
    suffix: str, data: bytes, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _written(tmp_path, data, suffix)
    monkeypatch.setattr(header_limits, "MOST_BYTES_AT_ONCE", 150_000)
    with pytest.raises(ImageTooLargeError, match=f"{why}.* to decode, above the limit"):
        read_image(path)
    kind = format_named(suffix)
    # With a larger wish for pixels comes a larger allowance; and streams need less.
    check_declared(path, kind, max_megapixels=250 * 100)


def test_what_streams_is_not_bounded_by_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header_limits, "MOST_BYTES_AT_ONCE", 150_000)
    for suffix, data in (("png", _png(300, 400)), ("jpg", _encoded("JPEG", 300))):
        read_image(_written(tmp_path, data, suffix))


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        ("tif", _tiff(width=640, height=640)),
        ("tif", _tiff(big=True, width=640, height=640)),
        ("tif", _tiff(width=6400, height=6400, compression=8)),
        ("tif", _tiff(width=6400, height=6400, compression=5, rows=1)),
        ("png", _png(4000, 4000)[:80]),
    ],
)
def test_a_file_too_small_for_its_claim_is_refused(
    suffix: str, data: bytes, tmp_path: Path
) -> None:
    with pytest.raises(ImageFileError, match=r"bytes cannot hold the \d+×\d+ pixels"):
        read_image(_written(tmp_path, data, suffix))


def test_pages_behind_the_first_are_looked_at(tmp_path: Path) -> None:
    first = _tiff(compression=7)[:-4]
    data = first + struct.pack("<I", len(first) + 4) + _tiff(width=900_000, height=900_000)[8:]
    with pytest.raises(ImageTooLargeError, match="900000×900000"):
        check_declared(_written(tmp_path, data, "tif"), format_named("tif"))


def test_directories_in_a_circle_end(tmp_path: Path) -> None:
    data = _tiff()[:-4] + struct.pack("<I", 8)
    check_declared(_written(tmp_path, data + bytes(64 * 64 * 3), "tif"), format_named("tif"))


def test_many_passes_over_a_large_progressive_jpeg_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _encoded("JPEG", 300, progressive=True)
    last = whole.rindex(b"\xff\xda")
    data = whole[:-2] + whole[last:-2] * 20 + whole[-2:]
    monkeypatch.setattr(header_limits, "_MOST_SCANNED_MEGAPIXELS", 0.3)
    with pytest.raises(ImageTooLargeError, match="too many passes"):
        read_image(_written(tmp_path, data, "jpg"))
    read_image(_written(tmp_path, whole, "jpg"))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_true_headers_pass(name: str, tmp_path: Path) -> None:
    suffix = {"JPEG": "jpg", "TIFF": "tif"}.get(name, name.lower())
    for options in {"TIFF": [{"compression": c} for c in ("raw", "tiff_lzw", "jpeg", "packbits")],
                    "JPEG": [{}, {"progressive": True}]}.get(name, [{}]):  # fmt: skip
        path = _written(tmp_path, _encoded(name, **options), suffix)
        check_declared(path, format_named(suffix))
        assert read_image(path).pixels.shape == (64, 64, 3)


def test_flat_pictures_that_compress_as_far_as_can_be_pass(tmp_path: Path) -> None:
    flat = PIL.Image.fromarray(np.zeros((3000, 3000, 3), np.uint8))
    for name, options in (
        ("a.png", {}), ("a.tif", {"compression": "tiff_lzw"}),
        ("b.tif", {"compression": "tiff_adobe_deflate"}),
    ):  # fmt: skip
        flat.save(tmp_path / name, **options)
        assert read_image(tmp_path / name).pixels.shape == (3000, 3000, 3)
