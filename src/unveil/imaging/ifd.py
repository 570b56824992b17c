"""TIFF directories and their values, as TIFF files and every EXIF block hold them.

Values are kept as little-endian bytes, whatever the order of the file they came from.
Source: TIFF 6.0 (Adobe, 1992), BigTIFF, Exif 2.32.
"""

import struct
from dataclasses import dataclass, field

import numpy as np

EXIF_IFD, GPS_IFD, INTEROP_IFD = 34665, 34853, 40965
ORIENTATION, MAKER_NOTE = 274, 37500
SUB_IFDS = 330
XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675

# type -> (bytes of a value, bytes of the numbers in it, which byte order concerns)
TYPES = {
    1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1), 8: (2, 2),
    9: (4, 4), 10: (8, 4), 11: (4, 4), 12: (8, 8), 13: (4, 4), 16: (8, 8), 17: (8, 8), 18: (8, 8),
}  # fmt: skip
_NUMBERS = {
    1: "<B", 3: "<H", 4: "<I", 5: "<II", 6: "<b", 8: "<h", 9: "<i", 10: "<ii", 11: "<f", 12: "<d",
    16: "<Q", 17: "<q",
}  # fmt: skip


@dataclass
class TagValue:
    """One tag's value: TIFF type, number of items, little-endian bytes."""

    kind: int
    count: int
    data: bytes

    def first(self) -> int:
        """Return the first item of an integer value; 0 when there is none."""
        size = TYPES[self.kind][0]
        return int.from_bytes(self.data[:size], "little")

    def integers(self) -> list[int]:
        """Return all items of an unsigned integer value."""
        size = TYPES[self.kind][0]
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


def _parts(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data) - size + 1, size)]


def swapped(data: bytes, unit: int) -> bytes:
    """Return numbers of `unit` bytes in the other byte order.

    Args:
        data: Their bytes.
        unit: Bytes of a number.
    """
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
                body = swapped(body, TYPES[value.kind][1])
            entries.append(layout.pack("HH", tag, value.kind) + layout.pointer(value.count))
            if len(body) <= cell:
                entries.append(body.ljust(cell, b"\0"))
                continue
            entries.append(layout.pointer(end + len(tail)))
        tail += body + bytes(len(body) % 2)
    return b"".join(entries) + bytes(cell) + bytes(tail)
