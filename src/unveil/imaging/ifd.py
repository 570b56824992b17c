"""TIFF directories: the structure of TIFF files and of every EXIF block.

Values are kept as little-endian bytes, whatever the order of the file they came from.
Source: TIFF 6.0 (Adobe, 1992), BigTIFF, Exif 2.32.
"""

import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

EXIF_IFD, GPS_IFD, INTEROP_IFD = 34665, 34853, 40965
ORIENTATION, MAKER_NOTE = 274, 37500
SUB_IFDS = 330
XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675

_CHILDREN = {EXIF_IFD, GPS_IFD, INTEROP_IFD}
# type -> (bytes of a value, bytes of the numbers in it, which byte order concerns)
_TYPES = {
    1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1), 8: (2, 2),
    9: (4, 4), 10: (8, 4), 11: (4, 4), 12: (8, 8), 13: (4, 4), 16: (8, 8), 17: (8, 8), 18: (8, 8),
}  # fmt: skip
_NUMBERS = {
    1: "<B", 3: "<H", 4: "<I", 5: "<II", 6: "<b", 8: "<h", 9: "<i", 10: "<ii", 11: "<f", 12: "<d",
    16: "<Q", 17: "<q",
}  # fmt: skip
_MAX_BYTES = 64 * 2**20  # of all directories: entries may all point at the same large block
_MAX_DEPTH = 3
_MAX_DIRECTORIES = 1000  # of one file, sub-directories included


@dataclass
class TagValue:
    """One tag's value: TIFF type, number of items, little-endian bytes."""

    kind: int
    count: int
    data: bytes

    def first(self) -> int:
        """Return the first item of an integer value; 0 when there is none."""
        size = _TYPES[self.kind][0]
        return int.from_bytes(self.data[:size], "little")

    def integers(self) -> list[int]:
        """Return all items of an unsigned integer value."""
        size = _TYPES[self.kind][0]
        return [int.from_bytes(part, "little") for part in _parts(self.data, size)]

    def number(self) -> float:
        """Return the first item, whatever its numeric type; 0 when there is none.

        >>> TagValue(5, 1, struct.pack("<II", 3, 2)).number()
        1.5
        """
        code = _NUMBERS.get(self.kind)
        if code is None or len(self.data) < struct.calcsize(code):
            return 0.0
        found = struct.unpack_from(code, self.data)
        return float(found[0] / (found[1] or 1) if len(found) == 2 else found[0])


@dataclass
class Ifd:
    """A directory: its values by tag, and the directories it points to.

    Attributes:
        values: By tag.
        children: By tag.
        at: Offset at which it was read.
    """

    values: dict[int, TagValue] = field(default_factory=dict)
    children: dict[int, "Ifd"] = field(default_factory=dict)
    at: int = field(default=0, compare=False)

    def __bool__(self) -> bool:
        return bool(self.values or self.children)

    def first(self, tag: int, default: int = 0) -> int:
        """Return the first item of a tag's integer value; `default` where there is no such tag.

        Args:
            tag: Number of the tag.
            default: For a directory without it.
        """
        return self.values[tag].first() if tag in self.values else default

    def integers(self, tag: int) -> list[int]:
        """Return all items of a tag's unsigned integer value; none where there is no such tag."""
        return self.values[tag].integers() if tag in self.values else []

    def number(self, tag: int, default: float = 0.0) -> float:
        """Return the first item of a tag's value, whatever its numeric type.

        Args:
            tag: Number of the tag.
            default: For a directory without it, or a value that is no number.
        """
        return self.values[tag].number() if tag in self.values else default

    def data(self, tag: int) -> bytes | None:
        """Return the bytes of a tag's value; None where there is no such tag."""
        return self.values[tag].data if tag in self.values else None


@dataclass(frozen=True)
class TiffLayout:
    """Byte order and pointer width of a file: classic TIFF has 4 bytes, BigTIFF 8."""

    order: str
    big: bool

    @property
    def entry(self) -> int:
        """Bytes of a directory entry."""
        return 20 if self.big else 12

    @property
    def head(self) -> int:
        """Bytes of the number of entries, which comes before them."""
        return 8 if self.big else 2

    @property
    def cell(self) -> int:
        """Offset in a directory entry of its value, or of the value's place."""
        return 12 if self.big else 8

    def pack(self, code: str, *numbers: int) -> bytes:
        """Pack numbers in this byte order.

        Args:
            code: As in `struct`, without the byte order.
            numbers: One for each letter of the code.
        """
        return struct.pack(self.order + code, *numbers)

    def number(self, data: bytes) -> int:
        """Return an unsigned number of any width."""
        return int.from_bytes(data, "little" if self.order == "<" else "big")

    def pointer(self, number: int) -> bytes:
        """Pack an offset or a count."""
        return self.pack("Q" if self.big else "I", number)


@dataclass
class _Reading:
    """What reading a tree of directories may still take, so that no file makes it endless.

    Attributes:
        budget: Bytes of values.
        visited: Offsets of directories, which are read once.
    """

    budget: int = _MAX_BYTES
    visited: set[int] = field(default_factory=set)


class TiffStructure:
    """Directories in a TIFF file or an EXIF block; all offsets are in bytes from its start.

    Args:
        file: Open for reading, and for writing where directories are appended.
        layout: Byte order and width of offsets; None reads them in the header.

    Attributes:
        first: Offset of the first directory.

    Raises:
        ValueError: If this is no TIFF structure.
    """

    def __init__(self, file: BinaryIO, layout: TiffLayout | None = None) -> None:
        self.file, self.first = file, 0
        if layout is not None:
            self.layout = layout
            return
        file.seek(0)
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            raise ValueError("not a TIFF structure")
        small = TiffLayout(order, False)
        big = small.number(head[2:4]) == 43 and len(head) == 16
        self.layout = TiffLayout(order, big)
        self.first = small.number(head[8:] if big else head[4:8])

    def directory(self, offset: int) -> Ifd:
        """Read the directory at `offset` and those it points to; unreadable values are left out.

        Raises:
            ValueError: If the directory itself lies outside the file.
        """
        return self._directory(offset, 0, _Reading())

    def _directory(self, offset: int, depth: int, reading: _Reading) -> Ifd:
        ifd = Ifd(at=offset)
        reading.visited.add(offset)
        for tag, kind, count, cell in self.entries(offset):
            if kind not in _TYPES or count * _TYPES[kind][0] > reading.budget:
                continue
            size, unit = _TYPES[kind]
            reading.budget -= count * size
            data = self.value(cell, count * size)
            if len(data) < count * size:
                continue
            swapped = self.layout.order == ">"
            value = TagValue(kind, count, _swapped(data, unit) if swapped else data)
            if tag not in _CHILDREN:
                ifd.values.setdefault(tag, value)  # as libtiff: of several, the first counts
                continue
            at = value.first()
            if depth < _MAX_DEPTH and tag not in ifd.children and at not in reading.visited:
                with suppress(ValueError):
                    ifd.children[tag] = self._directory(at, depth + 1, reading)
        return ifd

    def pages(self) -> list[list[Ifd]]:
        """Read the first directory and all that follow it: the pages of a TIFF file.

        Returns:
            For each page its directory, followed by those that its tag SubIFDs names.

        Raises:
            ValueError: If the first directory lies outside the file.
        """
        pages: list[list[Ifd]] = []
        reading, left, offset = _Reading(), _MAX_DIRECTORIES, self.first
        while offset and offset not in reading.visited and left > 0:
            try:
                page = [self._directory(offset, 0, reading)]
            except ValueError:
                if not pages:
                    raise
                break
            for at in page[0].integers(SUB_IFDS)[: left - 1]:
                if at not in reading.visited:
                    with suppress(ValueError):
                        page.append(self._directory(at, 0, reading))
            pages.append(page)
            left -= len(page)
            offset = self.next_directory(offset)
        return pages

    def entries(self, offset: int) -> list[tuple[int, int, int, bytes]]:
        """Return tag, type, count and cell of each entry of the directory at `offset`.

        A cell holds the value, or where it lies if it is longer. At most 4096 entries are read.

        Raises:
            ValueError: If the directory lies outside the file.
        """
        layout = self.layout
        number = self._count(offset)
        block = self.file.read(min(number, 4096) * layout.entry)
        shape = layout.order + ("HHQ8s" if layout.big else "HHI4s")
        whole = len(block) - len(block) % layout.entry
        return list(struct.iter_unpack(shape, block[:whole]))

    def value(self, cell: bytes, size: int, most: int | None = None) -> bytes:
        """Return the bytes of a value: from the cell of its entry, or from where it lies.

        Args:
            cell: From `entries`.
            size: Of the value, in bytes; fewer come back where the file ends before.
            most: Bytes that are wanted of it; None wants all.
        """
        if size <= len(cell):
            return cell[:size][:most]
        self.file.seek(self.layout.number(cell))
        return self.file.read(size if most is None else min(size, most))

    def entry(self, offset: int, tag: int) -> int:
        """Return where the directory at `offset` has its entry for `tag`.

        Args:
            offset: Of the directory.
            tag: Number of the tag.

        Raises:
            ValueError: If it has none.
        """
        for number, (found, *_) in enumerate(self.entries(offset)):
            if found == tag:
                return offset + self.layout.head + number * self.layout.entry
        raise ValueError(f"no tag {tag}")

    def next_directory(self, offset: int) -> int:
        """Return the offset of the directory after the one at `offset`; 0 when there is none."""
        self.file.seek(self.next_pointer(offset))
        return self.layout.number(self.file.read(8 if self.layout.big else 4))

    def next_pointer(self, offset: int) -> int:
        """Return where the directory at `offset` has its pointer to the next one."""
        return offset + self.layout.head + self._count(offset) * self.layout.entry

    def _count(self, offset: int) -> int:
        """Return the number of entries of a directory, and leave the file at the first."""
        self.file.seek(offset)
        head = self.file.read(self.layout.head)
        if len(head) < self.layout.head:
            raise ValueError("directory outside the file")
        return self.layout.number(head)

    def append(self, ifd: Ifd, after: int = 0) -> None:
        """Write a directory at the end of the file.

        Args:
            ifd: Directory.
            after: Offset of the directory that it follows; 0 makes it the first.
        """
        end = self.file.seek(0, 2)
        end += self.file.write(bytes(end % 2))
        self.file.write(write_ifd(ifd, self.layout, end))
        self.file.seek(self.next_pointer(after) if after else 8 if self.layout.big else 4)
        self.file.write(self.layout.pointer(end))


def _parts(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data) - size + 1, size)]


def _swapped(data: bytes, unit: int) -> bytes:
    return np.frombuffer(data, f"u{unit}").byteswap().tobytes()


def write_ifd(ifd: Ifd, layout: TiffLayout, offset: int) -> bytes:
    """Lay out `ifd` and its children as they stand at `offset` of a file.

    Args:
        ifd: Directory.
        layout: Of the file.
        offset: Even position at which the result will be written.
    """
    tags = sorted(set(ifd.values) | set(ifd.children))
    cell = 8 if layout.big else 4
    head = layout.pack("Q" if layout.big else "H", len(tags))
    end = offset + len(head) + len(tags) * layout.entry + cell
    entries, tail = [head], bytearray()
    for tag in tags:
        child = ifd.children.get(tag)
        if child is not None:
            body = write_ifd(child, layout, end + len(tail))
            entries.append(layout.pack("HH", tag, 18 if layout.big else 4))
            entries.append(layout.pointer(1) + layout.pointer(end + len(tail)))
        else:
            value = ifd.values[tag]
            body = value.data
            if layout.order == ">":
                body = _swapped(body, _TYPES[value.kind][1])
            entries.append(layout.pack("HH", tag, value.kind) + layout.pointer(value.count))
            if len(body) <= cell:
                entries.append(body.ljust(cell, b"\0"))
                continue
            entries.append(layout.pointer(end + len(tail)))
        tail += body + bytes(len(body) % 2)
    return b"".join(entries) + bytes(cell) + bytes(tail)
