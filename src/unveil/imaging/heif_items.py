"""The table of items of an AVIF or HEIC file: taken apart, changed, and put together again.

Source: ISO/IEC 14496-12 (boxes, items), ISO/IEC 23008-12 (HEIF: properties, references).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

# Offset and length of each part of an item.
Extents = list[tuple[int, int]]


@dataclass
class ItemPlace:
    """Where the data of an item lie.

    Attributes:
        extents: Offset and length of each part.
        method: 0: in the file; 1: in the table's own box of data; others: elsewhere.
    """

    extents: Extents
    method: int = 0


@dataclass
class Items:
    """The table of items.

    Attributes:
        primary: Number of the picture.
        entries: Content of the box that describes an item, by its number.
        places: Where the data of items lie.
        references: Type, number of the item, numbers of those that it refers to.
        properties: Type and content; numbered from 1.
        of_item: Numbers of the properties of an item, each with whether it is essential.
        others: Type and content of all other boxes.
    """

    primary: int = 0
    entries: dict[int, bytes] = field(default_factory=dict)
    places: dict[int, ItemPlace] = field(default_factory=dict)
    references: list[tuple[bytes, int, list[int]]] = field(default_factory=list)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    of_item: dict[int, list[tuple[int, bool]]] = field(default_factory=dict)
    others: list[tuple[bytes, bytes]] = field(default_factory=list)

    def kind(self, item: int) -> bytes:
        """Return the type of an item."""
        entry = self.entries[item]
        at = 8 if entry[0] < 3 else 10
        return entry[at : at + 4]

    def first(self, kind: bytes) -> int | None:
        """Return the number of the first item of a type."""
        return next((item for item in self.entries if self.kind(item) == kind), None)

    def referred(self, kind: bytes, item: int) -> list[int]:
        """Return the items that an item refers to by references of a type.

        Args:
            kind: Type of the references, four bytes.
            item: Id of the item that refers.
        """
        return [to for k, i, many in self.references if (k, i) == (kind, item) for to in many]

    def own_properties(self, item: int) -> list[tuple[bytes, bytes]]:
        """Return type and content of the properties of an item."""
        numbers = [number for number, _ in self.of_item.get(item, [])]
        return [self.properties[n - 1] for n in numbers if 0 < n <= len(self.properties)]

    def add(self, kind: bytes) -> int:
        """Add an item of a type; return its number."""
        number = max([*self.entries, self.primary, 0]) + 1
        self.entries[number] = struct.pack(">IHH4sB", 0x02000000, number, 0, kind, 0)
        return number

    def add_property(self, item: int, kind: bytes, content: bytes, *, essential: bool) -> None:
        """Give an item a property.

        Args:
            item: Id of the item.
            kind: Type of the property, four bytes.
            content: Of its box.
            essential: Whether readers must know the property.
        """
        self.properties.append((kind, content))
        self.of_item.setdefault(item, []).append((len(self.properties), essential))


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box as `boxes` reads it.

    Args:
        kind: Type, four bytes.
        content: What it holds.
    """
    return struct.pack(">I4s", 8 + len(content), kind) + content


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the content of each box in `data`.

    Args:
        data: Bytes of a file.
        start: Where the first box begins.
        end: Where the last one ends.

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


class _Numbers:
    """Reads big-endian numbers.

    Raises:
        ValueError: If the data end before.
    """

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def __call__(self, size: int) -> int:
        self.at += size
        if self.at > len(self.data):
            raise ValueError("a table that does not end")
        return int.from_bytes(self.data[self.at - size : self.at], "big")


def parse_items(meta: bytes) -> Items:
    """Return the table in the content of a ``meta`` box.

    Raises:
        ValueError: If it is damaged.
    """
    items = Items()
    for kind, start, end in boxes(meta, 4, len(meta)):
        content = meta[start:end]
        reader = _READERS.get(kind)
        if reader is None:
            items.others.append((kind, content))
        else:
            reader(items, content)
    return items


def _read_primary(items: Items, content: bytes) -> None:
    items.primary = _Numbers(content, 4)(4 if content[:1] != b"\0" else 2)


def _read_entries(items: Items, content: bytes) -> None:
    start = 8 if content[:1] != b"\0" else 6
    for kind, at, end in boxes(content, start, len(content)):
        version = content[at]
        if kind == b"infe" and version in (2, 3) and end - at >= 12:
            number = _Numbers(content, at + 4)(2 if version == 2 else 4)
            items.entries[number] = content[at:end]


def _read_places(items: Items, content: bytes) -> None:
    number, version = _Numbers(content, 4), content[0]
    sizes = [half for _ in range(2) for half in divmod(number(1), 16)]
    wide = 2 if version < 2 else 4
    for _ in range(number(wide)):
        item = number(wide)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(sizes[2])
        place = ItemPlace([], method)
        for _ in range(number(2)):
            number(sizes[3] if version else 0)
            offset = base + number(sizes[0])
            place.extents.append((offset, number(sizes[1])))
        items.places[item] = place


def _read_references(items: Items, content: bytes) -> None:
    wide = 4 if content[:1] != b"\0" else 2
    for kind, start, end in boxes(content, 4, len(content)):
        number = _Numbers(content[:end], start)
        item = number(wide)
        items.references.append((kind, item, [number(wide) for _ in range(number(2))]))


def _read_properties(items: Items, content: bytes) -> None:
    for kind, start, end in boxes(content, 0, len(content)):
        if kind == b"ipco":
            found = boxes(content, start, end)
            items.properties += [(name, content[at:stop]) for name, at, stop in found]
        elif kind == b"ipma":
            _read_associations(items, content[start:end])


def _read_associations(items: Items, content: bytes) -> None:
    number = _Numbers(content)
    version, flags = number(1), number(3)
    bits = 15 if flags & 1 else 7
    for _ in range(number(4)):
        item = number(2 if version < 1 else 4)
        given = [number((bits + 1) // 8) for _ in range(number(1))]
        mask = (1 << bits) - 1
        items.of_item.setdefault(item, []).extend((n & mask, n > mask) for n in given)


_READERS = {
    b"pitm": _read_primary,
    b"iinf": _read_entries,
    b"iloc": _read_places,
    b"iref": _read_references,
    b"iprp": _read_properties,
}


def pack_items(items: Items) -> bytes:
    """Return the content of a ``meta`` box.

    Raises:
        struct.error: If a number does not fit: items have 16 bits here, offsets 32.
    """
    head = [(k, c) for k, c in items.others if k == b"hdlr"]
    rest = [(k, c) for k, c in items.others if k != b"hdlr"]
    parts = [box(kind, content) for kind, content in head]
    parts += [
        box(b"pitm", bytes(4) + struct.pack(">H", items.primary)),
        box(b"iloc", _places(items)),
        box(b"iinf", _entries(items)),
    ]
    if items.references:
        parts.append(box(b"iref", bytes(4) + b"".join(map(_reference, items.references))))
    parts.append(box(b"iprp", _properties(items)))
    return bytes(4) + b"".join(parts) + b"".join(box(kind, content) for kind, content in rest)


def _places(items: Items) -> bytes:
    rows = []
    for item, place in items.places.items():
        row = struct.pack(">HHHH", item, place.method, 0, len(place.extents))
        rows.append(row + b"".join(struct.pack(">II", *extent) for extent in place.extents))
    return struct.pack(">IBBH", 0x01000000, 0x44, 0, len(rows)) + b"".join(rows)


def _entries(items: Items) -> bytes:
    count = struct.pack(">H", len(items.entries))
    return bytes(4) + count + b"".join(box(b"infe", entry) for entry in items.entries.values())


def _reference(reference: tuple[bytes, int, list[int]]) -> bytes:
    kind, item, many = reference
    return box(kind, struct.pack(f">HH{len(many)}H", item, len(many), *many))


def _properties(items: Items) -> bytes:
    container = box(b"ipco", b"".join(box(kind, data) for kind, data in items.properties))
    rows = []
    for item, numbers in sorted(items.of_item.items()):
        words = [number | (0x8000 if essential else 0) for number, essential in numbers]
        rows.append(struct.pack(f">HB{len(words)}H", item, len(words), *words))
    head = struct.pack(">II", 1, len(rows))
    return container + box(b"ipma", head + b"".join(rows))
