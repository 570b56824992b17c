"""Reading and extending the directories of a TIFF file or an EXIF block."""

import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from unveil.imaging.ifd import (
    EXIF_IFD,
    GPS_IFD,
    INTEROP_IFD,
    SUB_IFDS,
    TYPES,
    Ifd,
    TagValue,
    TiffLayout,
    swapped,
    write_ifd,
)

_CHILDREN = {EXIF_IFD, GPS_IFD, INTEROP_IFD}
_MAX_BYTES = 64 * 2**20  # of all directories: entries may all point at the same large block
_MAX_DEPTH = 3
_MAX_DIRECTORIES = 1000  # of one file, sub-directories included


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
            if kind not in TYPES or count * TYPES[kind][0] > reading.budget:
                continue
            size, unit = TYPES[kind]
            reading.budget -= count * size
            data = self.value(cell, count * size)
            if len(data) < count * size:
                continue
            if self.layout.order == ">":
                data = swapped(data, unit)
            value = TagValue(kind, count, data)
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
