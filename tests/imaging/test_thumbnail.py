"""The thumbnail of a restored file shows the restored picture."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
from tests.imaging.conftest import exif_block

from unveil.imaging import Image, Metadata, read_image, write_image
from unveil.imaging.exif import parse_exif
from unveil.imaging.thumbnail import with_new_thumbnail


def _block(orientation: int = 1, flat: bool = False) -> bytes:
    """Return an EXIF block with a thumbnail of noise in its IFD1, as cameras write it."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise // 255 if flat else noise).save(
        buffer, "JPEG", quality=20 if flat else 95
    )
    small = buffer.getvalue()
    block = exif_block(orientation).removeprefix(b"Exif\0\0")
    assert block.startswith(b"MM")
    number = int.from_bytes(block[8:10], "big")
    pointer = 10 + 12 * number
    at = len(block)
    entries = [(259, 3, 1, 6 << 16), (513, 4, 1, at + 2 + 36 + 4), (514, 4, 1, len(small))]
    ifd = (3).to_bytes(2, "big") + b"".join(struct.pack(">HHII", *entry) for entry in entries)
    return block[:pointer] + at.to_bytes(4, "big") + block[pointer + 4 :] + ifd + bytes(4) + small


def _thumbnail(path: Path) -> np.ndarray | None:
    with PIL.Image.open(path) as file:
        exif = file.getexif()
        table = exif.get_ifd(PIL.ExifTags.IFD.IFD1)
        block = file.info["exif"].removeprefix(b"Exif\0\0")
    if 513 not in table:
        return None
    data = block[table[513] : table[513] + table[514]]
    with PIL.Image.open(io.BytesIO(data)) as small:
        return np.asarray(small.convert("RGB"))


def _ramp(height: int = 300, width: int = 400) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 / height, x * 255 / width, 0 * x + 90], -1).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_thumbnail_is_made_anew(suffix: str, orientation: int, tmp_path: Path) -> None:
    noisy = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    block = _block(orientation=orientation)
    PIL.Image.fromarray(noisy).save(tmp_path / f"a{suffix}", exif=b"Exif\0\0" + block)
    image = read_image(tmp_path / f"a{suffix}")
    clean = _ramp(*image.pixels.shape[:2])
    changed = with_new_thumbnail(image, clean)
    write_image(tmp_path / f"b{suffix}", changed)
    small = _thumbnail(tmp_path / f"b{suffix}")
    assert small is not None
    assert max(small.shape) == 160
    upright = np.rot90(small, -1) if orientation == 6 else small
    wanted = _ramp(*upright.shape[:2])
    assert np.abs(upright.astype(int) - wanted).mean() < 4
    # Everything else in the block lies where it lay: maker notes count from its start.
    old, new = image.metadata.exif, read_image(tmp_path / f"b{suffix}").metadata.exif
    assert old is not None
    assert new is not None
    assert len(old) == len(new)
    assert parse_exif(old) == parse_exif(new)


def test_nothing_changes_where_the_pixels_do_not() -> None:
    image = Image(_ramp(), metadata=Metadata(exif=_block()))
    assert with_new_thumbnail(image, image.pixels.copy()).metadata is image.metadata
    plain = Image(_ramp(), metadata=Metadata(exif=exif_block()[6:]))
    assert with_new_thumbnail(plain, plain.pixels[::-1]).metadata is plain.metadata


def test_a_thumbnail_that_has_no_room_goes_and_is_told(tmp_path: Path) -> None:
    noisy = np.random.default_rng(1).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    image = Image(noisy // 2, metadata=Metadata(exif=_block(flat=True)))
    made = with_new_thumbnail(image, noisy)
    assert made.left_out == ("the thumbnail in its EXIF block",)
    write_image(tmp_path / "b.png", made)
    assert _thumbnail(tmp_path / "b.png") is None
    with PIL.Image.open(tmp_path / "b.png") as file:
        assert file.getexif()[272] == "Model 7"


def test_a_picture_that_is_turned_gets_its_thumbnail_turned(
    jpeg_file: Callable[..., Path], tmp_path: Path
) -> None:
    del jpeg_file
    block = _block(orientation=6)
    PIL.Image.fromarray(np.rot90(_ramp())).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block)
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.jpg"))
    small = _thumbnail(tmp_path / "b.png")
    assert small is not None
    with PIL.Image.open(tmp_path / "b.png") as file:
        assert file.getexif()[274] == 1
        upright = np.asarray(file.resize((small.shape[1], small.shape[0])))
    assert np.abs(upright.astype(int) - small).mean() < 6
