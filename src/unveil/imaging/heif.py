"""What AVIF and HEIC files hold beside samples, read and written as it is.

libvips rewrites EXIF blocks, makes one up where there is none, writes no colour codes, and leaves
colours that are multiplied by transparency as they are.
Source: ISO/IEC 23008-12 (HEIF) and its annex A (EXIF), ITU-T H.273 (codes of colours),
AV1-ISOBMFF 1.3 (av1C), ISO/IEC 14496-15 (hvcC).
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from unveil.imaging.heif_items import ItemPlace, Items, box, pack_items, parse_items
from unveil.imaging.image import GAIN_MAP, VIDEO

_MAX_META = 16 * 2**20
_MAX_EXIF = 16 * 2**20
_SEQUENCES = (b"avis", b"msf1", b"hevc", b"hevx")
_EXIF_MARK = b"Exif\0\0"
# Parts of a file beside its picture, by what names them: in the item table, or a box of its own.
_PARTS = {
    b"aux:hdrgainmap": GAIN_MAP,
    b"tmap": GAIN_MAP,
    b"auxid:2": "its depth map",
    b"auxiliary:depth": "its depth map",
    b"matte": "its masks of people",
    b"mpvd": VIDEO,
}
# Codes of H.273: sRGB, and where nothing is specified; the matrix that encoders use here.
_SRGB, _UNSPECIFIED, BT601, _IDENTITY = (1, 13), 2, 6, 0


@dataclass(frozen=True)
class Facts:
    """What the container states about its picture.

    Attributes:
        exif: EXIF block.
        cicp: Codes of colour primaries and transfer function, where they are not sRGB's.
        subsampled: Whether colour has half the resolution of luminance both ways.
        monochrome: Whether there is no colour.
        lossless: Whether the samples were coded as red, green and blue.
        premultiplied: Whether colours are multiplied by transparency.
    """

    exif: bytes | None = None
    cicp: tuple[int, int] | None = None
    subsampled: bool = True
    monochrome: bool = False
    lossless: bool = False
    premultiplied: bool = False


def is_sequence(path: Path) -> bool:
    """Return whether a file's first brand says that it is an animation."""
    with path.open("rb") as file:
        return file.read(12)[8:] in _SEQUENCES


def read_facts(path: Path) -> Facts:
    """Return what an AVIF or HEIC file states about its picture; little of a damaged one."""
    try:
        with path.open("rb") as file:
            items = parse_items(_meta(file)[1])
            exif = _exif(file, items)
    except (KeyError, IndexError, struct.error, ValueError, OverflowError):
        return Facts()
    properties = items.own_properties(items.primary)
    tiles = items.referred(b"dimg", items.primary)[:1]
    coded = [*properties, *(part for tile in tiles for part in items.own_properties(tile))]
    codes = next((c[4:10] for k, c in coded if k == b"colr" and c[:4] == b"nclx"), b"")
    profile = any(k == b"colr" and c[:4] in (b"prof", b"rICC") for k, c in properties)
    primaries, transfer, matrix = struct.unpack(">HHH", codes) if len(codes) == 6 else (2, 2, 2)
    codes_given = _UNSPECIFIED not in (primaries, transfer) and max(primaries, transfer) < 256
    named = codes_given and (primaries, transfer) != _SRGB
    subsampled, monochrome = _chroma(coded)
    return Facts(
        exif=exif,
        cicp=(primaries, transfer) if named and not profile else None,
        subsampled=subsampled,
        monochrome=monochrome,
        lossless=matrix == _IDENTITY and not monochrome,
        premultiplied=bool(items.referred(b"prem", items.primary)),
    )


def _chroma(properties: list[tuple[bytes, bytes]]) -> tuple[bool, bool]:
    """Return whether colour is halved, and whether there is none, as decoders are configured."""
    for kind, content in properties:
        if kind == b"av1C" and len(content) > 2:
            return content[2] & 0x0C == 0x0C, bool(content[2] & 0x10)
        if kind == b"hvcC" and len(content) > 16:
            return content[16] & 3 == 1, content[16] & 3 == 0
    return True, False


def _exif(file: BinaryIO, items: Items) -> bytes | None:
    number = items.first(b"Exif")
    place = items.places.get(number) if number is not None else None
    if place is None or place.method or not place.extents:
        return None
    offset, length = place.extents[0]
    file.seek(offset)
    item = file.read(min(length, _MAX_EXIF))
    skipped = 4 + int.from_bytes(item[:4], "big")
    return item[skipped:].removeprefix(_EXIF_MARK) or None


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
    items = _items(path)
    number = items.add(b"Exif")
    items.references.append((b"cdsc", number, [items.primary]))
    _rewrite(path, items, {number: bytes(4) + block})


def put_cicp(path: Path, cicp: tuple[int, int], *, lossless: bool) -> None:
    """Write into an AVIF file which colours its samples are, in place.

    Args:
        path: What libheif wrote.
        cicp: Codes of primaries and transfer function.
        lossless: Whether the samples were coded as red, green and blue.

    Raises:
        ValueError: As for `put_exif`.
    """
    items = _items(path)
    matrix = _IDENTITY if lossless else BT601
    content = b"nclx" + struct.pack(">HHHB", *cicp, matrix, 0x80)
    items.add_property(items.primary, b"colr", content, essential=False)
    _rewrite(path, items, {})


def _items(path: Path) -> Items:
    with path.open("rb") as file:
        try:
            return parse_items(_meta(file)[1])
        except (IndexError, struct.error) as error:
            raise ValueError(f"no table of items: {error}") from error


def _rewrite(path: Path, items: Items, added: dict[int, bytes]) -> None:
    """Write a file's table of items anew; the data of added items go behind the rest."""
    with path.open("r+b") as file:
        at, meta = _meta(file)
        size = file.seek(0, os.SEEK_END)
        for number in added:
            items.places[number] = ItemPlace([(0, 0)])
        # The table's length does not depend on the numbers in it.
        longer = len(pack_items(items)) - len(meta)
        end = size + longer + 8
        for number, place in items.places.items():
            if number in added:
                items.places[number] = ItemPlace([(end, len(added[number]))])
                end += len(added[number])
            elif place.method == 0:
                extents = [(offset + longer, length) for offset, length in place.extents]
                items.places[number] = ItemPlace(extents)
        file.seek(at + len(meta))
        rest = file.read()
        file.seek(at - 8)
        more = box(b"mdat", b"".join(added.values())) if added else b""
        file.write(box(b"meta", pack_items(items)) + rest + more)
        file.truncate()


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
