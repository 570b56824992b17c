"""EXIF blocks survive, shrink when they must, and never harm."""

import struct
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from tests.imaging.conftest import XMP, exif_block

from unveil.imaging import Metadata
from unveil.imaging.exif import build_exif, orientation_of, parse_exif, turned_upright
from unveil.imaging.ifd import EXIF_IFD, GPS_IFD, MAKER_NOTE, Ifd, Layout, Value, write_ifd

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
    import io

    from unveil.imaging.ifd import read_ifd

    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 9: 4, 10: 8, 12: 8, 16: 8}
    values = {1000 + kind: Value(kind, 5, bytes(range(5 * size))) for kind, size in sizes.items()}
    given = Ifd(values, {EXIF_IFD: Ifd({37500: Value(7, 3, b"abc")})})
    layout = Layout(order, big)
    file = io.BytesIO(bytes(64) + write_ifd(given, layout, 64))
    assert read_ifd(file, layout, 64) == given


def test_upright_changes_the_orientation_and_not_one_other_byte() -> None:
    metadata = Metadata(orientation=6, exif=_BLOCK, xmp=XMP)
    turned = turned_upright(metadata)
    assert (turned.orientation, orientation_of(turned.exif)) == (1, 1)
    assert sum(a != b for a, b in zip(turned.exif, _BLOCK, strict=True)) == 1
    assert turned.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert turned_upright(replace(metadata, orientation=1)).exif is _BLOCK


def test_maker_notes_are_given_up_first_when_a_block_is_too_large() -> None:
    ifd = parse_exif(_BLOCK)
    ifd.children[EXIF_IFD].values[MAKER_NOTE] = Value(7, 70_000, bytes(70_000))
    kept = parse_exif(build_exif(ifd, 65_000))
    assert MAKER_NOTE not in kept.children[EXIF_IFD].values
    assert kept.children[EXIF_IFD].values[34855].first() == 800
    ifd.values[270] = Value(2, 70_000, bytes(70_000))
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


def test_random_blocks_never_fail() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        block = bytearray(_BLOCK)
        for at in rng.integers(0, len(block), 6):
            block[at] = rng.integers(0, 256)
        build_exif(parse_exif(bytes(block)))
        turned_upright(Metadata(orientation=2, exif=bytes(block)))
