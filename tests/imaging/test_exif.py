"""EXIF blocks survive, shrink when they must, and never harm."""

import io
import struct
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from tests.imaging.conftest import XMP, exif_block

from unveil.imaging import Metadata
from unveil.imaging.exif import build_exif, orientation_of, parse_exif, turned_upright
from unveil.imaging.ifd import (
    EXIF_IFD,
    GPS_IFD,
    INTEROP_IFD,
    MAKER_NOTE,
    Ifd,
    TagValue,
    TiffLayout,
    write_ifd,
)
from unveil.imaging.tiff_structure import TiffStructure

_BLOCK = exif_block(6)[6:]


def test_a_rebuilt_block_says_the_same() -> None:
    exif = PIL.Image.Exif()
    exif.load(build_exif(parse_exif(_BLOCK)))
    wanted = PIL.Image.Exif()
    wanted.load(_BLOCK)
    for tag in (EXIF_IFD, GPS_IFD):
        assert dict(exif.get_ifd(tag)) == dict(wanted.get_ifd(tag)) != {}
    assert exif[272] == wanted[272] == "Model 7"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_every_type_survives_both_byte_orders(order: str, big: bool) -> None:
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 9: 4, 10: 8, 12: 8, 16: 8}
    values = {
        1000 + kind: TagValue(kind, 5, bytes(range(5 * size))) for kind, size in sizes.items()
    }
    given = Ifd(values, {EXIF_IFD: Ifd({37500: TagValue(7, 3, b"abc")})})
    layout = TiffLayout(order, big)
    file = io.BytesIO(bytes(64) + write_ifd(given, layout, 64))
    assert TiffStructure(file, layout).directory(64) == given


def test_upright_changes_the_orientation_and_not_one_other_byte() -> None:
    metadata = Metadata(orientation=6, exif=_BLOCK, xmp=XMP)
    turned = turned_upright(metadata)
    assert (turned.orientation, orientation_of(turned.exif)) == (1, 1)
    assert sum(a != b for a, b in zip(turned.exif, _BLOCK, strict=True)) == 1
    assert turned.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert turned_upright(replace(metadata, orientation=1)).exif is _BLOCK


def test_maker_notes_are_given_up_first_when_a_block_is_too_large() -> None:
    ifd = parse_exif(_BLOCK)
    ifd.children[EXIF_IFD].values[MAKER_NOTE] = TagValue(7, 70_000, bytes(70_000))
    kept = parse_exif(build_exif(ifd, 65_000))
    assert MAKER_NOTE not in kept.children[EXIF_IFD].values
    assert kept.children[EXIF_IFD].values[34855].first() == 800
    ifd.values[270] = TagValue(2, 70_000, bytes(70_000))
    assert build_exif(ifd, 65_000) is None


def _circular() -> bytes:
    entry = struct.pack("<HHII", EXIF_IFD, 4, 1, 8)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


@pytest.mark.parametrize(
    "block",
    [b"", b"II", b"II*\0\xff\xff\xff\xff", _BLOCK[:40], _circular(), b"II*\0\x08\0\0\0\xff\xff"],
)
def test_damaged_blocks_are_read_as_far_as_they_go(block: bytes) -> None:
    parse_exif(block)
    assert orientation_of(block) in range(1, 9)
    turned_upright(Metadata(orientation=3, exif=block))


class _Counted(io.BytesIO):
    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize("tags", [(EXIF_IFD,), (EXIF_IFD, GPS_IFD, INTEROP_IFD)])
def test_a_directory_is_read_once_however_often_it_is_pointed_at(tags: tuple[int, ...]) -> None:
    number = 12
    entries = [struct.pack("<HHII", tags[i % len(tags)], 4, 1, 8) for i in range(number)]
    file = _Counted(bytes(8) + struct.pack("<H", number) + b"".join(entries) + bytes(4))
    assert not TiffStructure(file, TiffLayout("<", False)).directory(8)
    assert file.reads == 2  # the number of entries, and the entries


def test_the_bytes_of_all_directories_together_are_bounded() -> None:
    layout, large = TiffLayout("<", False), 40 * 2**20
    child = struct.pack("<HHHIII", 1, MAKER_NOTE, 7, large, 0, 0)
    children = {EXIF_IFD: 38, GPS_IFD: 56}
    pointers = [struct.pack("<HHII", tag, 4, 1, at) for tag, at in children.items()]
    root = struct.pack("<H", 2) + b"".join(pointers) + bytes(4)
    ifd = TiffStructure(
        io.BytesIO((bytes(8) + root + 2 * child).ljust(large, b"\0")), layout
    ).directory(8)
    kept = [len(child.values) for child in ifd.children.values()]
    assert kept == [1, 0]


def test_random_blocks_never_fail() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        block = bytearray(_BLOCK)
        for at in rng.integers(0, len(block), 6):
            block[at] = rng.integers(0, 256)
        build_exif(parse_exif(bytes(block)))
        turned_upright(Metadata(orientation=2, exif=bytes(block)))
