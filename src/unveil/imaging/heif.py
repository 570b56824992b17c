"""Boxes of AVIF and HEIC files: the EXIF item as it is, and what else the file holds.

libvips rewrites EXIF blocks, and makes one up where there is none.
Source: ISO/IEC 14496-12 (boxes, items), ISO/IEC 23008-12 (HEIF), annex A (EXIF).
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from unveil.imaging.image import GAIN_MAP, VIDEO

_MAX_META = 16 * 2**20
_MAX_EXIF = 16 * 2**20
_SEQUENCES = (b"avis", b"msf1", b"hevc", b"hevx")
_EXIF_MARK = b"Exif\0\0"
# Parts of a file beside its picture, by what tells them: in the item table, or a box of its own.
_PARTS = {
    b"aux:hdrgainmap": GAIN_MAP,
    b"tmap": GAIN_MAP,
    b"auxid:2": "its depth map",
    b"auxiliary:depth": "its depth map",
    b"matte": "its masks of people",
    b"mpvd": VIDEO,
}


# By number of an item: offset and length of each of its parts.
Places = dict[int, list[tuple[int, int]]]


def is_sequence(path: Path) -> bool:
    """Tell whether a file's first brand says that it is an animation."""
    with path.open("rb") as file:
        return file.read(12)[8:] in _SEQUENCES


def exif_item(path: Path) -> bytes | None:
    """Return the EXIF block of an AVIF or HEIC file as it stands there; None without one."""
    try:
        with path.open("rb") as file:
            _, meta = _meta(file)
            parts = _parts(meta)
            number = _items(meta, parts[b"iinf"]).get(b"Exif", -1)
            for offset, length in _locations(meta, parts[b"iloc"]).get(number, [])[:1]:
                file.seek(offset)
                item = file.read(min(length, _MAX_EXIF))
                skipped = 4 + int.from_bytes(item[:4], "big")
                return item[skipped:].removeprefix(_EXIF_MARK) or None
    except (KeyError, struct.error, ValueError, OverflowError):
        pass
    return None


def other_parts(path: Path) -> list[str]:
    """Name what an AVIF or HEIC file holds beside its picture."""
    with path.open("rb") as file:
        found = b" ".join(kind for kind, _, _ in _top(file))
        try:
            found += _meta(file)[1]
        except ValueError:
            return []
    return sorted({name for mark, name in _PARTS.items() if mark in found})


def put_exif(path: Path, block: bytes) -> None:
    """Give an AVIF file that has no EXIF item one, in place.

    Args:
        path: What libheif wrote.
        block: EXIF block, without mark.

    Raises:
        ValueError: If the file is laid out in a way that libheif does not write.
    """
    item = bytes(4) + block
    with path.open("r+b") as file:
        try:
            at, meta = _meta(file)
            parts = _parts(meta)
            places = _locations(meta, parts[b"iloc"])
        except (KeyError, struct.error) as error:
            raise ValueError(f"no table of items: {error}") from error
        size = file.seek(0, os.SEEK_END)
        number = max(places) + 1
        longer = len(_with_item(meta, number, places, 0)) - len(meta)
        places = {
            i: [(offset + longer, length) for offset, length in extents]
            for i, extents in places.items()
        }
        places[number] = [(size + longer + 8, len(item))]
        file.seek(at + len(meta))
        rest = file.read()
        file.seek(at - 8)
        whole = _with_item(meta, number, places, number)
        file.write(box(b"meta", whole) + rest + box(b"mdat", item))


def _with_item(meta: bytes, number: int, places: Places, known: int) -> bytes:
    """Return a table of items with one more, for EXIF.

    Args:
        meta: Content of the old one.
        number: Of the new item.
        places: Where the items lie, from the start of the file.
        known: The new item's number if its place is among them; 0 leaves room for it.
    """
    places = places if known else {**places, number: [(0, 0)]}
    primary = int.from_bytes(meta[slice(*_parts(meta)[b"pitm"])][4:6], "big")
    link = box(b"cdsc", struct.pack(">HHH", number, 1, primary))
    entry = box(b"infe", struct.pack(">IHH4sB", 0x02000000, number, 0, b"Exif", 0))
    out, linked = [meta[:4]], False
    for kind, start, end in boxes(meta, 4, len(meta)):
        content = meta[start:end]
        if kind == b"iinf":
            count = struct.unpack_from(">H", content, 4)[0] + 1
            content = content[:4] + struct.pack(">H", count) + content[6:] + entry
        elif kind == b"iref":
            content, linked = content + link, True
        elif kind == b"iloc":
            rows = [
                struct.pack(">HHH", i, 0, len(extents))
                + b"".join(struct.pack(">II", *extent) for extent in extents)
                for i, extents in places.items()
            ]
            content = struct.pack(">IBBH", 0, 0x44, 0, len(rows)) + b"".join(rows)
        out.append(box(kind, content))
    if not linked:
        out.append(box(b"iref", bytes(4) + link))
    return b"".join(out)


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box as `boxes` reads it."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the content of each box in `data`.

    Raises:
        ValueError: If one does not fit.
    """
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        stop = start + size if size else end
        if size == 1 or stop < start + 8 or stop > end:
            raise ValueError("a box that does not fit")
        yield data[start + 4 : start + 8], start + 8, stop
        start = stop


def _parts(meta: bytes) -> dict[bytes, tuple[int, int]]:
    return {kind: (start, end) for kind, start, end in boxes(meta, 4, len(meta))}


def _top(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the content of each box of the file."""
    whole, at = file.seek(0, os.SEEK_END), 0
    while at + 8 <= whole:
        file.seek(at)
        head = file.read(16)
        size, skip = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, skip = int.from_bytes(head[8:], "big"), 16
        end = at + size if size else whole
        if end < at + skip:
            return
        yield head[4:8], at + skip, min(end, whole)
        at = end


def _meta(file: BinaryIO) -> tuple[int, bytes]:
    """Return the offset of the table of items' content, and the content.

    Raises:
        ValueError: If there is none of sensible size.
    """
    for kind, start, end in _top(file):
        if kind == b"meta" and end - start <= _MAX_META:
            file.seek(start)
            return start, file.read(end - start)
    raise ValueError("no table of items")


def _items(meta: bytes, where: tuple[int, int]) -> dict[bytes, int]:
    """Return the number of the first item of each type."""
    start, end = where
    wide = 8 if meta[start] else 6
    found: dict[bytes, int] = {}
    for kind, at, _ in boxes(meta, start + wide, end):
        if kind == b"infe" and meta[at] in (2, 3):
            digits = 2 if meta[at] == 2 else 4
            number = int.from_bytes(meta[at + 4 : at + 4 + digits], "big")
            found.setdefault(meta[at + 6 + digits : at + 10 + digits], number)
    return found


def _locations(meta: bytes, where: tuple[int, int]) -> Places:
    """Return offset and length of each part of the items that lie in the file itself.

    Raises:
        ValueError: If the table has no end.
    """
    start, end = where
    version = meta[start]
    sizes = [meta[start + 4] >> 4, meta[start + 4] & 15, meta[start + 5] >> 4, meta[start + 5] & 15]
    at = start + 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > end:
            raise ValueError("a table that does not end")
        return int.from_bytes(meta[at - size : at], "big")

    places: Places = {}
    for _ in range(number(2 if version < 2 else 4)):
        item = number(2 if version < 2 else 4)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(sizes[2])
        extents = []
        for _ in range(number(2)):
            number(sizes[3] if version else 0)
            offset, length = number(sizes[0]), number(sizes[1])
            extents.append((base + offset, length))
        if method == 0:
            places[item] = extents
    return places
