"""What a JPEG file holds after its picture: gain maps, a video, further pictures.

All of it is kept byte for byte in a JPEG result. Items that are found by their length, counted from
the end of the picture or of the file (Ultra HDR, motion photos), need no change. The index of a
multi-picture file holds offsets, which are mended.

Source: CIPA DC-007 (MPF), ISO 21496-1, Android's Ultra HDR and motion photo formats.
"""

import io
import mmap
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from unveil.imaging.image import GAIN_MAP, VIDEO, Trailer
from unveil.imaging.tiff_structure import TiffStructure

MPF = b"MPF\0"
ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
_MP_ENTRIES = 0xB002
_MOST = 512 * 2**20
# A marker that is neither a stuffed zero, nor a restart, nor a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_GAIN_MAP_MARKS = (b"hdrgm:", ISO_GAIN_MAP, b"aux:hdrgainmap", b"ns.apple.com/HDRGainMap")
_VIDEO = re.compile(rb"\A.{4}ftyp|ftyp(?:mp4|isom|qt  |3gp)|MotionPhoto_Data", re.DOTALL)
_PICTURE = re.compile(rb"\xff\xd8\xff[\xe0-\xef\xdb]")


def _end_of_picture(file: BinaryIO, scan: int) -> int | None:
    """Return the offset after a JPEG picture's last marker; None when it has none.

    `scan` is the offset of its first scan.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = scan
        while (found := _MARKER.search(data, at)) is not None:
            if data[found.start() + 1] == 0xD9:
                return found.end()
            size = int.from_bytes(data[found.end() : found.end() + 2], "big")
            at = found.end() + size
    return None


def read_trailer(path: Path, scan: int, index: int | None) -> Trailer | None:
    """Return what follows the picture of a JPEG file; None when nothing but padding does.

    Args:
        path: Of the file.
        scan: Offset of its first scan.
        index: Offset of the TIFF structure in its multi-picture segment, if it has one.
    """
    with path.open("rb") as file:
        end = _end_of_picture(file, scan)
        size = 0 if end is None else file.seek(0, 2) - end
        if end is None or size == 0:
            return None
        file.seek(end)
        if size > _MOST:
            return Trailer(b"", end, index, size)
        data = file.read(size)
    return Trailer(data, end, index, size) if data.strip(b"\0\r\n \xff") else None


def described(trailer: Trailer | None, segments: Iterable[bytes], xmp: bytes | None) -> list[str]:
    """Name what would be lost without a trailer.

    Args:
        trailer: What follows the picture.
        segments: Bodies of the picture's own segments.
        xmp: Of the picture.
    """
    if trailer is None:
        return []
    data, found = trailer.data, []
    marks = [*segments, xmp or b"", data]
    maps = any(mark in part for mark in _GAIN_MAP_MARKS for part in marks)
    if maps:
        found.append(GAIN_MAP)
    if _VIDEO.search(data):
        found.append(VIDEO)
    pictures = len(_PICTURE.findall(data)) - maps
    if pictures > 0 and len(found) == maps:
        found.append("the further pictures in the file")
    return found or [f"{trailer.size} bytes that follow the picture"]


def mend_index(target: BinaryIO, at: int, end: int, trailer: Trailer) -> None:
    """Set the sizes and offsets in the multi-picture index of a JPEG file that was written.

    Args:
        target: The file, open for reading and writing.
        at: Offset of the TIFF structure in its multi-picture segment.
        end: Offset after the picture, where the trailer was written.
        trailer: From the file the picture came from.
    """
    if trailer.index is None:
        return
    target.seek(at)
    block = bytearray(target.read(65533))
    try:
        index = TiffStructure(io.BytesIO(bytes(block)))
        order = index.layout.order
        entries = _entries(bytes(block), order, index.first)
        following = 0
        for number, entry in enumerate(entries):
            size, place = struct.unpack_from(order + "II", block, entry + 4)
            if number == 0 or place == 0:
                size, place = end, 0
            else:
                found = _found(trailer, place, following)
                place = place if found is None else found + end - at
                following = (found or 0) + size
            struct.pack_into(order + "II", block, entry + 4, size, place)
    except (ValueError, struct.error, OverflowError):
        return
    target.seek(at)
    target.write(block)


def _found(trailer: Trailer, place: int, following: int) -> int | None:
    """Return where in a trailer a picture lies; None when there is none.

    Args:
        trailer: The trailer.
        place: Offset from the index, as the format has it; some writers count from the file's
            start, and some give the length of what the picture had been before.
        following: Offset in the trailer after the picture before.
    """
    assert trailer.index is not None
    for at in (trailer.index + place - trailer.start, place - trailer.start, following):
        if at >= 0 and trailer.data[at : at + 3] == b"\xff\xd8\xff":
            return at
    return None


def _entries(block: bytes, order: str, offset: int) -> range:
    """Return the places of the pictures' entries, 16 bytes each."""
    (number,) = struct.unpack_from(order + "H", block, offset)
    for entry in range(offset + 2, offset + 2 + 12 * min(number, 100), 12):
        tag, _, count, place = struct.unpack_from(order + "HHII", block, entry)
        if tag == _MP_ENTRIES and place + count <= len(block):
            return range(place, place + count - 15, 16)
    return range(0)
