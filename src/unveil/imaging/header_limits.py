"""Limits on what a header declares, checked before a decoder is started.

A header of 60 bytes can claim any size. Decoders believe it: they allocate rows, strips, tiles or
the whole picture first and notice afterwards that the file holds nothing.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from unveil.errors import ImageFileError, ImageTooLargeError
from unveil.imaging.formats import BMP, JPEG, MAX_MEGAPIXELS, PNG, TIFF, WEBP, Format, check_size
from unveil.imaging.ifd import SUB_IFDS
from unveil.imaging.tiff_structure import TiffStructure

# What a decoder may hold at once for a picture of up to `MAX_MEGAPIXELS`.
MOST_BYTES_AT_ONCE = 2**30
# A row of the widest picture, four float samples each, is 16 MB.
MOST_SIDE = 1_000_000
# Every pass over a progressive JPEG's coefficients costs time; cameras write about ten.
_MOST_SCANS, _MOST_SCANNED_MEGAPIXELS = 16, 5000.0
# Deflate makes at most 1032 bytes of one (RFC 1951), LZW of TIFF fewer than 1500.
_MOST_DEFLATED, _MOST_LZW = 1032, 1500
_SLACK = 4096
_RATIOS = {1: 1, 5: _MOST_LZW, 8: _MOST_DEFLATED, 32946: _MOST_DEFLATED}
_MOST_DIRECTORIES = 256
_SCANLINES = 128


@dataclass(frozen=True)
class Declared:
    """What a header claims.

    Attributes:
        width: Columns.
        height: Rows.
        at_once: Bytes that the decoder holds at one time.
        least: Bytes the file must have to hold the samples; 0 where compression has no bound.
        scanned: Megapixels times passes over them, where there are many passes.
        why: Names what makes the decoder hold much, for the message.
    """

    width: int
    height: int
    at_once: float
    least: float = 0.0
    scanned: float = 0.0
    why: str = "its way of storing"


def check_declared(path: Path, kind: Format, max_megapixels: float = MAX_MEGAPIXELS) -> None:
    """Refuse a file by the sizes its header claims; nothing is decoded.

    Headers that cannot be understood pass: the decoder will say what is wrong with them.

    Args:
        path: Of the file.
        kind: Its format.
        max_megapixels: Largest picture accepted. Above `MAX_MEGAPIXELS`, more memory is accepted in
            proportion.

    Raises:
        ImageTooLargeError: It claims too many pixels, or a decoder would need too much memory.
        ImageFileError: The file is too small to hold what it claims, or cannot be read.
    """
    parsers = {JPEG: _jpeg, PNG: _png, TIFF: _tiff, WEBP: _webp, BMP: _bmp}
    if kind not in parsers:
        return
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            declared = list(parsers[kind](file))
    except (struct.error, ValueError, OverflowError, IndexError):
        return
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    for one in declared:
        _check(path, one, size, max_megapixels)


def check_memory(
    path: Path,
    width: int,
    height: int,
    bytes_per_pixel: float,
    max_megapixels: float,
    why: str = "its format",
) -> None:
    """Refuse a picture that a decoder holds whole, if that is too much.

    Args:
        path: Of the file.
        width: Columns.
        height: Rows.
        bytes_per_pixel: That the decoder holds, all copies together.
        max_megapixels: As for `check_declared`.
        why: What makes it be held whole, for the message.

    Raises:
        ImageTooLargeError: It is.
    """
    declared = Declared(width, height, width * height * bytes_per_pixel, why=why)
    _check(path, declared, 0, max_megapixels)


def strip_rows(row_bytes: int, rows: int) -> int:
    """Return how many rows to decode at a time: `rows`, or fewer where they are wide.

    Args:
        row_bytes: Size of a row, in bytes.
        rows: The most rows.

    >>> strip_rows(18_000, 64), strip_rows(16_000_000, 64)
    (64, 2)
    """
    return max(1, min(rows, 2**25 // max(row_bytes, 1)))


def _check(path: Path, one: Declared, size: int, max_megapixels: float) -> None:
    check_size(path, one.width, one.height, max_megapixels)
    if max(one.width, one.height) > MOST_SIDE:
        raise ImageTooLargeError(
            f"{path}: {one.width}×{one.height} pixels; sides of up to {MOST_SIDE:,} are read"
        )
    limit = MOST_BYTES_AT_ONCE * max(1.0, max_megapixels / MAX_MEGAPIXELS)
    if one.at_once > limit:
        raise ImageTooLargeError(
            f"{path}: {one.why} takes {one.at_once / 2**30:.1f} GiB to decode, above the limit of "
            f"{limit / 2**30:.1f}; convert it, or raise --max-megapixels if you trust the file"
        )
    if one.scanned > _MOST_SCANNED_MEGAPIXELS * max(1.0, max_megapixels / MAX_MEGAPIXELS):
        raise ImageTooLargeError(
            f"{path}: a progressive JPEG of too many passes for its size; convert it"
        )
    if size and one.least > size + _SLACK:
        raise ImageFileError(
            f"{path}: damaged or truncated: its {size:,} bytes cannot hold the "
            f"{one.width}×{one.height} pixels that its header claims"
        )


def _png(file: BinaryIO) -> Iterator[Declared]:
    head = file.read(29)
    if head[12:16] != b"IHDR":
        return
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head[16:29])
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 4)
    row = -(-width * samples * bits // 8)
    # A palette is spread out to colours, bits to bytes.
    decoded = width * (3 if colour == 3 else samples) * max(bits, 8) // 8
    at_once = height * decoded if interlaced else _SCANLINES * decoded
    yield Declared(
        width, height, at_once, height * row / _MOST_DEFLATED, why="an interlaced PNG of this size"
    )


def _jpeg(file: BinaryIO) -> Iterator[Declared]:
    file.seek(2)
    while True:
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF:
            return
        if head[1] == 0xFF:  # fill bytes
            file.seek(-3, 1)
            continue
        marker, size = head[1], int.from_bytes(head[2:], "big")
        if marker in (0xDA, 0xD9) or size < 2:
            return
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            body = file.read(size - 2)
            yield _jpeg_frame(file, marker in (0xC2, 0xC6, 0xCA, 0xCE), body)
            return
        file.seek(size - 2, 1)


def _jpeg_frame(file: BinaryIO, progressive: bool, body: bytes) -> Declared:
    height, width, number = struct.unpack_from(">HHB", body, 1)
    factors = [(body[7 + 3 * i] >> 4, body[7 + 3 * i] & 15) for i in range(number)]
    across = max((x for x, _ in factors), default=1) or 1
    down = max((y for _, y in factors), default=1) or 1
    share = sum(x * y for x, y in factors) / (across * down)
    if not progressive:
        return Declared(width, height, _SCANLINES * width * number)
    scans = sum(part.count(b"\xff\xda") for part in iter(lambda: file.read(2**20), b""))
    scanned = scans * width * height / 1e6 if scans > _MOST_SCANS else 0.0
    at_once = 2 * width * height * share
    return Declared(width, height, at_once, scanned=scanned, why="a progressive JPEG of this size")


def _webp(file: BinaryIO) -> Iterator[Declared]:
    head = file.read(40)
    name, body = head[12:16], head[20:]
    if name == b"VP8X":
        width, height = (int.from_bytes(body[i : i + 3], "little") + 1 for i in (4, 7))
    elif name == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif name == b"VP8 ":
        width, height = (int.from_bytes(body[i : i + 2], "little") & 0x3FFF for i in (6, 8))
    else:
        return
    # Without loss, the decoder keeps its own copy of the pixels.
    copies = 1 if name == b"VP8 " else 2
    yield Declared(width, height, copies * 4 * width * height, why="a WebP of this size")


def _bmp(file: BinaryIO) -> Iterator[Declared]:
    head = file.read(34)
    if int.from_bytes(head[14:18], "little") == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", head, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", head, 18)
    width, height = abs(width), abs(height)
    row = (width * bits + 31) // 32 * 4
    # Colours take four bytes in the library's picture and three in ours.
    least = 0.0 if compression in (1, 2) else float(height * row)
    yield Declared(width, height, 7.0 * width * height, least, why="a BMP of this size")


def _tiff(file: BinaryIO) -> Iterator[Declared]:
    structure = TiffStructure(file)
    pending, seen = [structure.first], set[int]()
    while pending and len(seen) < _MOST_DIRECTORIES:
        offset = pending.pop()
        if not offset or offset in seen:
            continue
        seen.add(offset)
        tags = _storage_tags(structure, offset)
        pending += [structure.next_directory(offset), *tags.get(SUB_IFDS, [])]
        if {_WIDTH, _HEIGHT} <= tags.keys():
            yield _tiff_page(tags)


def _storage_tags(structure: TiffStructure, offset: int) -> dict[int, list[int]]:
    """Read the integer tags of a directory that say how samples are stored."""
    tags: dict[int, list[int]] = {}
    for tag, kind, count, cell in structure.entries(offset):
        code = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
        if tag not in _TAGS or code is None or not count:
            continue
        few = min(count, 16)
        size = struct.calcsize(code)
        data = structure.value(cell, size * count, size * few)
        tags[tag] = list(struct.unpack(f"{structure.layout.order}{few}{code}", data))
    return tags


_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS = 256, 257, 258, 259, 277, 278
_PHOTOMETRIC, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT = 262, 284, 322, 323
_YCBCR = 6
_TAGS = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT}
    | {SUB_IFDS, _PHOTOMETRIC}
)


def _tiff_page(tags: dict[int, list[int]]) -> Declared:
    def first(tag: int, default: int) -> int:
        return tags.get(tag, [default])[0]

    width, height = first(_WIDTH, 0), first(_HEIGHT, 0)
    samples, bits = first(_SAMPLES, 1), max(tags.get(_BITS, [1]))
    row = width * samples * max(bits, 8) / 8
    if _TILE_WIDTH in tags or _TILE_HEIGHT in tags:
        across, down = first(_TILE_WIDTH, width), first(_TILE_HEIGHT, height)
        # A row of tiles is kept, and one tile beside it.
        at_once = down * (row + 2 * across * samples * max(bits, 8) / 8)
    else:
        strip = min(first(_ROWS, height), height)
        whole = strip <= _SCANLINES or first(_PLANAR, 1) == 2
        at_once = 2 * row * (strip if whole else _SCANLINES)
    ratio = _RATIOS.get(first(_COMPRESSION, 1))
    if first(_PHOTOMETRIC, 2) == _YCBCR:  # chroma may be stored at a quarter of the size
        samples = 1
    least = width * height * samples * bits / 8 / ratio if ratio else 0.0
    return Declared(width, height, at_once, least, why="a TIFF of such strips or tiles")
