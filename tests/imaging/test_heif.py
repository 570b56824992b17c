"""Boxes of AVIF and HEIC files: EXIF goes in and out as it is; other parts are named."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import pyvips
from tests.imaging.conftest import exif_block, profile, samples

from unveil.imaging import Image, Metadata, heif, read_image, write_image
from unveil.imaging.formats import AVIF, HEIC
from unveil.imaging.losses import losses

_BLOCK = exif_block().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("icc", [None, profile()])
@pytest.mark.parametrize("xmp", [None, b"<x>packet</x>"])
def test_exif_is_put_in_as_it_is(
    bands: int, icc: bytes | None, xmp: bytes | None, tmp_path: Path
) -> None:
    pixels = np.full((40, 48, 1 if bands == 1 else 3), 90, np.uint8)
    alpha = np.full((40, 48), 200, np.uint8) if bands == 4 else None
    metadata = Metadata(exif=_BLOCK, icc=icc, xmp=xmp)
    write_image(tmp_path / "a.avif", Image(pixels, alpha, metadata=metadata))
    assert heif.exif_item(tmp_path / "a.avif") == _BLOCK
    image = read_image(tmp_path / "a.avif")
    assert (image.metadata.exif, image.metadata.icc, image.metadata.xmp) == (_BLOCK, icc, xmp)
    assert np.abs(image.pixels.astype(int) - 90).max() < 4
    assert (image.alpha is None) == (bands < 4)
    # Other readers find it, too.
    other = pyvips.Image.new_from_file(str(tmp_path / "a.avif"))
    assert other.get("exif-data").endswith(_BLOCK)
    with PIL.Image.open(tmp_path / "a.avif") as file:
        assert file.getexif()[272] == "Model 7"


def test_a_file_of_another_layout_gets_no_exif(tmp_path: Path) -> None:
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x0cftypavif" + bytes(20))
    with pytest.raises(ValueError, match="table of items"):
        heif.put_exif(tmp_path / "a.avif", _BLOCK)
    assert heif.exif_item(tmp_path / "a.avif") is None


def test_the_video_behind_a_picture_is_named(tmp_path: Path) -> None:
    packet = b'<d xmlns:g="http://ns.google.com/photos/1.0/camera/" g:MotionPhoto="1" g:Other="2"/>'
    pixels = np.full((40, 48, 3), 90, np.uint8)
    write_image(tmp_path / "a.avif", Image(pixels, metadata=Metadata(xmp=packet)))
    with (tmp_path / "a.avif").open("ab") as file:
        file.write((8 + 500).to_bytes(4, "big") + b"mpvd" + bytes(500))
    image = read_image(tmp_path / "a.avif")
    assert losses(image, AVIF) == ["left out: the video of a motion photo"]
    write_image(tmp_path / "b.avif", image)
    assert b"MotionPhoto" not in (read_image(tmp_path / "b.avif").metadata.xmp or b"")


def test_further_pictures_of_a_heic_are_named(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    first, second = (PIL.Image.fromarray(samples((64, 64, 3), seed=i)) for i in range(2))
    whole = pillow_heif.from_pillow(first)
    whole.add_from_pillow(second)
    whole.save(tmp_path / "a.heic")
    assert losses(read_image(tmp_path / "a.heic"), HEIC) == [
        "left out: the further pictures in the file"
    ]
