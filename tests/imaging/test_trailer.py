"""What follows a JPEG's picture is kept, with its offsets, or told and no longer claimed."""

import io
import struct
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import pyvips
from tests.imaging.conftest import exif_block, jpeg_bytes, samples

from unveil.imaging import Image, read_image, write_image
from unveil.imaging.claims import without_claims
from unveil.imaging.format_losses import losses
from unveil.imaging.formats import JPEG, PNG

_ISO = b"urn:iso:std:iso:ts:21496:-1\0"
_VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(range(256)) * 9
_SPACES = (
    b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" '
    b'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    b'xmlns:Item="http://ns.google.com/photos/1.0/container/item/" '
    b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
)
_MOTION = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description ' + _SPACES
    + b' GCamera:MotionPhoto="1" GCamera:MicroVideoOffset="9" hdrgm:Version="1.0" a:Rating="5">'
    + b'<Container:Directory><rdf:Seq><rdf:li><Container:Item Item:Semantic="MotionPhoto" '
    + b'Item:Length="%d"/></rdf:li></rdf:Seq></Container:Directory></rdf:Description></x:xmpmeta>'
) % len(_VIDEO)  # fmt: skip


def _jpeg(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def _with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def _multi_picture(first: bytes, second: bytes, *segments: bytes) -> bytes:
    """Join two JPEGs by an index, as CIPA DC-007 has it."""
    head = b"MM\0*" + struct.pack(">IH", 8, 3)
    head += struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, 2)
    head += struct.pack(">HHII", 0xB002, 7, 32, 8 + 2 + 36 + 4) + bytes(4)
    start = 2 + sum(map(len, segments)) + 4 + 4  # of the index
    size = len(first) + sum(map(len, segments)) + 4 + 4 + len(head) + 32
    entries = struct.pack(">IIIHH", 0x20030000, size, 0, 0, 0)
    entries += struct.pack(">IIIHH", 0, len(second), size - start, 0, 0)
    index = _segment(0xE2, b"MPF\0" + head + entries)
    return _with_segments(first, *segments, index) + second


def _second(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as file:
        file.seek(1)
        return np.asarray(file)


_SMALL = samples((12, 16, 3), seed=3)


@pytest.mark.parametrize("mark", [b"", _segment(0xE2, _ISO + bytes(4))])
@pytest.mark.parametrize("progressive", [False, True])
def test_further_pictures_and_gain_maps_are_found_again(
    mark: bytes, progressive: bool, tmp_path: Path
) -> None:
    second = _jpeg(_SMALL)
    first = _jpeg(samples((48, 64, 3)), exif=exif_block(6), progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(_multi_picture(first, second, mark))
    wanted = _second(tmp_path / "a.jpg")
    image = read_image(tmp_path / "a.jpg")
    assert losses(image, JPEG) == []
    # Another size of the picture moves what follows it.
    write_image(tmp_path / "b.jpg", image, quality=30)
    assert (tmp_path / "b.jpg").read_bytes().endswith(second)
    np.testing.assert_array_equal(_second(tmp_path / "b.jpg"), wanted)
    with PIL.Image.open(tmp_path / "b.jpg") as file:
        sizes = [entry["Size"] for entry in file.mpinfo[0xB002]]
    assert sum(sizes) == (tmp_path / "b.jpg").stat().st_size
    assert (_ISO in (tmp_path / "b.jpg").read_bytes()) == bool(mark)
    name = "gain map" if mark else "further pictures"
    assert name in losses(image, PNG)[0]


def test_an_index_that_counts_from_the_files_start_is_mended(tmp_path: Path) -> None:
    second = _jpeg(_SMALL)
    whole = bytearray(_multi_picture(_jpeg(samples((48, 64, 3))), second))
    at = whole.index(b"MPF\0") + 4 + 50 + 16 + 8
    whole[at : at + 4] = (len(whole) - len(second)).to_bytes(4, "big")
    (tmp_path / "a.jpg").write_bytes(whole)
    with pytest.raises(SyntaxError):
        _second(tmp_path / "a.jpg")
    write_image(tmp_path / "b.jpg", read_image(tmp_path / "a.jpg"))
    assert _second(tmp_path / "b.jpg").shape == _SMALL.shape


def test_libvips_finds_the_gain_map_of_a_result(tmp_path: Path) -> None:
    light = samples((48, 64, 3)).astype(np.float32) / 90
    hdr = pyvips.Image.new_from_memory(light.tobytes(), 64, 48, 3, "float")
    hdr.copy(interpretation="scrgb").uhdrsave(str(tmp_path / "a.jpg"))
    before = pyvips.Image.uhdrload(str(tmp_path / "a.jpg"))
    image = read_image(tmp_path / "a.jpg")
    assert image.pixels.dtype == np.uint8
    write_image(tmp_path / "b.jpg", image, quality=40)
    after = pyvips.Image.uhdrload(str(tmp_path / "b.jpg"))
    assert after.get("gainmap-data") == before.get("gainmap-data")
    assert "gain map" in losses(image, PNG)[0]


def test_a_motion_photo_keeps_its_video(tmp_path: Path) -> None:
    content = _jpeg(samples((48, 64, 3)), xmp=_MOTION) + _VIDEO
    (tmp_path / "a.jpg").write_bytes(content)
    image = read_image(tmp_path / "a.jpg")
    write_image(tmp_path / "b.jpg", image, quality=30)
    after = (tmp_path / "b.jpg").read_bytes()
    assert after.endswith(_VIDEO)
    assert _MOTION in after
    write_image(tmp_path / "b.png", image)
    packet = read_image(tmp_path / "b.png").metadata.xmp
    assert packet is not None
    assert b'a:Rating="5"' in packet
    assert not any(word in packet for word in (b"Item:Length", b"MotionPhoto", b"hdrgm:Version"))
    assert "the video of a motion photo" in losses(image, PNG)[0]


def test_any_bytes_that_follow_are_kept(tmp_path: Path) -> None:
    rest = b"a maker's own block" + bytes(2000) + b"end"
    (tmp_path / "a.jpg").write_bytes(_jpeg(samples((48, 64, 3))) + rest)
    image = read_image(tmp_path / "a.jpg")
    write_image(tmp_path / "b.jpg", image)
    assert (tmp_path / "b.jpg").read_bytes().endswith(b"\xff\xd9" + rest)
    assert f"{len(rest)} bytes that follow" in losses(image, PNG)[0]


def test_padding_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(_jpeg(samples((48, 64, 3))) + bytes(4096))
    image = read_image(tmp_path / "a.jpg")
    assert image.metadata.trailer is None
    assert losses(image, PNG) == []


def test_an_index_of_pictures_that_are_not_there_goes(tmp_path: Path) -> None:
    second = _jpeg(_SMALL)
    whole = _multi_picture(_jpeg(samples((48, 64, 3))), second)
    (tmp_path / "a.jpg").write_bytes(whole[: -len(second)])
    write_image(tmp_path / "b.jpg", read_image(tmp_path / "a.jpg"))
    assert b"MPF\0" not in (tmp_path / "b.jpg").read_bytes()


def test_makers_segments_are_kept_but_for_signatures(tmp_path: Path) -> None:
    thermal, signed = _segment(0xE1, b"FLIR\0data"), _segment(0xEB, b"JP\0\x01jumbc2pa")
    measured = _segment(0xE4, b"measured")
    (tmp_path / "a.jpg").write_bytes(
        _with_segments(jpeg_bytes(samples((16, 16, 3))), thermal, signed, measured)
    )
    image = read_image(tmp_path / "a.jpg")
    write_image(tmp_path / "b.jpg", image)
    after = (tmp_path / "b.jpg").read_bytes()
    assert thermal in after
    assert measured in after
    assert b"c2pa" not in after
    assert ["content credentials" in sentence for sentence in losses(image, JPEG)] == [True]
    assert "segments APP1 and APP4" in losses(image, PNG)[-1]


def test_what_follows_a_png_is_told(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", Image(_SMALL))
    assert read_image(tmp_path / "a.png").left_out == ()
    with (tmp_path / "a.png").open("ab") as file:
        file.write(b"more")
    assert read_image(tmp_path / "a.png").left_out == ("what follows the picture",)


def test_claims_are_found_under_any_prefix_and_as_elements() -> None:
    packet = (
        b'<d xmlns:q="http://ns.google.com/photos/1.0/camera/" q:MotionPhoto=\'1\' q:Place="x">'
        b"<q:MicroVideo>1</q:MicroVideo><q:SpecialTypeID>2</q:SpecialTypeID></d>"
    )
    assert without_claims(packet) == (
        b'<d xmlns:q="http://ns.google.com/photos/1.0/camera/" q:Place="x">'
        b"<q:SpecialTypeID>2</q:SpecialTypeID></d>"
    )
    assert without_claims(b"<d>none</d>") == b"<d>none</d>"
