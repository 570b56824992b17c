"""Pages of TIFF files are what their types say, and every image among them comes back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from tests.imaging.conftest import exif_block, samples

from unveil.errors import ImageFileError, OutputError
from unveil.imaging import Image, read_image, tiff, write_image
from unveil.imaging.format_losses import losses
from unveil.imaging.formats import PNG

tifffile = pytest.importorskip("tifffile")
_PHOTO, _SMALL = samples((24, 32, 3)), samples((6, 8, 3), seed=1)


def _pages(path: Path, pages: list[tuple[np.ndarray, int]], **options: Any) -> Path:
    with tifffile.TiffWriter(path, **options) as file:
        for pixels, kind in pages:
            mask = kind == 4
            given = pixels[..., 0] > 99 if mask else pixels
            file.write(given, photometric=4 if mask else "rgb", subfiletype=kind, metadata=None)
    return path


def _preview_first(path: Path) -> Path:
    """The reduced copy is the page, and the picture lies in its first SubIFD, as in a DNG."""
    with tifffile.TiffWriter(path) as file:
        file.write(_SMALL, photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        file.write(_PHOTO, photometric="rgb", subfiletype=0, metadata=None)
    return path


@pytest.mark.parametrize(
    ("order", "left_out"),
    [
        ([(_PHOTO, 0), (_SMALL, 1)], "1 reduced copy of the picture"),
        ([(_SMALL, 1), (_PHOTO, 0)], "1 reduced copy of the picture"),
        ([(_PHOTO, 0), (_PHOTO, 4)], "1 mask or other page of the picture"),
        ([(_PHOTO, 0), (_SMALL, 1), (_SMALL, 1)], "2 reduced copies of the picture"),
        ([(_PHOTO, 0)], None),
        ([(_PHOTO, 1)], None),
    ],
)
def test_reduced_copies_and_masks_are_no_pages(
    order: list[tuple[np.ndarray, int]], left_out: str | None, tmp_path: Path
) -> None:
    image = read_image(_pages(tmp_path / "a.tif", order))
    np.testing.assert_array_equal(image.pixels, _PHOTO)
    assert image.pages == ()
    assert image.left_out == ((left_out,) if left_out else ())
    write_image(tmp_path / "b.tif", image)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert len(file.pages) == 1
        np.testing.assert_array_equal(file.pages[0].asarray(), _PHOTO)


def test_a_picture_in_a_sub_directory_is_found(tmp_path: Path) -> None:
    image = read_image(_preview_first(tmp_path / "a.tif"))
    np.testing.assert_array_equal(image.pixels, _PHOTO)
    assert image.left_out == ("1 reduced copy of the picture",)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_several_images_come_back_in_order(bigtiff: bool, order: str, tmp_path: Path) -> None:
    pages = [samples((9 + i, 13, 3), "uint16", seed=i) for i in range(3)]
    source = _pages(
        tmp_path / "a.tif", [(page, 2) for page in pages], bigtiff=bigtiff, byteorder=order
    )
    image = read_image(source)
    write_image(tmp_path / "b.tif", image)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert len(file.pages) == 3
        for page, wanted in zip(file.pages, pages, strict=True):
            np.testing.assert_array_equal(page.asarray(), wanted)
            assert page.subfiletype == 2
    again = read_image(tmp_path / "b.tif")
    assert len(again.pages) == 2
    np.testing.assert_array_equal(again.pages[1].pixels, pages[2])
    with pytest.raises(OutputError, match=r"3 pages.*choose tiff"):
        write_image(tmp_path / "b.png", image)


def test_pages_count_together_for_the_size_limit(tmp_path: Path) -> None:
    source = _pages(tmp_path / "a.tif", [(samples((100, 100, 3)), 0)] * 3)
    read_image(source, max_megapixels=0.03)
    with pytest.raises(ImageFileError, match=r"3 pages of 0 megapixels.*--max-megapixels"):
        read_image(source, max_megapixels=0.029)


def test_directories_in_a_circle_end(tmp_path: Path) -> None:
    source = _pages(tmp_path / "a.tif", [(_PHOTO, 0), (_PHOTO, 0)])
    with tifffile.TiffFile(source) as file:
        first, second = file.pages[0].offset, file.pages[1].offset
    content = bytearray(source.read_bytes())
    number = int.from_bytes(content[second : second + 2], "little")
    end = second + 2 + 12 * number
    content[end : end + 4] = first.to_bytes(4, "little")
    source.write_bytes(content)
    assert len(read_image(source).pages) == 1


@pytest.mark.parametrize(
    ("kinds", "alpha", "extra"), [((0,), False, 1), ((2,), True, 0), ((1,), True, 0)]
)
@pytest.mark.parametrize("colours", [1, 3])
def test_extra_samples_stay_what_they_are(
    kinds: tuple[int, ...], alpha: bool, extra: int, colours: int, tmp_path: Path
) -> None:
    pixels = samples((14, 18, colours + 1), "uint16")
    if kinds == (1,):  # colours that are multiplied by transparency are no brighter than it
        pixels = np.minimum(pixels, pixels[..., -1:])
    kind = "rgb" if colours == 3 else "minisblack"
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric=kind, extrasamples=kinds, planarconfig="contig",
        metadata=None,
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    assert (image.alpha is not None, 0 if image.extra is None else image.extra.shape[2]) == (
        alpha,
        extra,
    )
    write_image(tmp_path / "b.tif", image)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        np.testing.assert_array_equal(file.pages[0].asarray(), pixels)
        assert tuple(map(int, file.pages[0].extrasamples)) == kinds
    # Elsewhere only transparency has a place, and what has none is told.
    write_image(tmp_path / "b.png", image)
    assert (read_image(tmp_path / "b.png").alpha is not None) == alpha
    assert any("no transparency" in sentence for sentence in losses(image, PNG)) == bool(extra)


def test_infrared_and_alpha_stay_beside_colours(tmp_path: Path) -> None:
    pixels = samples((14, 18, 5))
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=(0, 2), metadata=None
    )
    image = read_image(tmp_path / "a.tif")
    assert image.extra is not None
    assert image.extra.shape == (14, 18, 2)
    write_image(tmp_path / "b.tif", image)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        np.testing.assert_array_equal(file.pages[0].asarray(), pixels)
        assert tuple(map(int, file.pages[0].extrasamples)) == (0, 2)


@pytest.mark.parametrize("unit", [0, 4, 8, 65535])
def test_a_resolution_unit_that_is_none_is_not_written(unit: int, tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", _PHOTO, photometric="rgb", tile=(16, 16), resolution=(1, 1),
        metadata=None,
    )  # fmt: skip
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        tag = file.pages[0].tags[296]
        place = tag.valueoffset
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[place : place + 2] = unit.to_bytes(2, "little")
    (tmp_path / "a.tif").write_bytes(content)
    image = read_image(tmp_path / "a.tif")
    write_image(tmp_path / "b.tif", image)
    assert pyvips.Image.new_from_file(str(tmp_path / "b.tif"), fail_on="error").avg() > 0
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").pixels, image.pixels)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_there_is_not_means_upright(
    orientation: int, order: str, bigtiff: bool, tmp_path: Path
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", _PHOTO, photometric="rgb", metadata=None, bigtiff=bigtiff,
        byteorder=order, extratags=[(274, "H", 1, orientation, True)],
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, _PHOTO)
    write_image(tmp_path / "b.tif", image)
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").pixels, _PHOTO)


def test_tags_that_make_a_result_unreadable_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", _PHOTO, photometric="rgb", metadata=None,
        extratags=[(271, "s", 0, "Maker", True)],
    )  # fmt: skip
    monkeypatch.setattr(tiff, "_readable", lambda ifd: ifd)
    image = read_image(tmp_path / "a.tif")
    tags = image.metadata.raw[0].ifd.values
    tags[274] = tiff.TagValue(3, 1, b"\x09\0")
    write_image(tmp_path / "b.tif", image)
    assert "make it unreadable" in caplog.text
    again = read_image(tmp_path / "b.tif")
    np.testing.assert_array_equal(again.pixels, _PHOTO)
    assert 271 in again.metadata.raw[0].ifd.values


def test_floats_of_another_scale_are_scaled_by_their_tags(tmp_path: Path) -> None:
    pixels = samples((20, 20, 3)).astype(np.float32)
    white = (341, "f", 3, (255.0,) * 3, True)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=[white])
    image = read_image(tmp_path / "a.tif")
    assert image.white == 255
    write_image(tmp_path / "b.tif", image)
    assert read_image(tmp_path / "b.tif").white == 255
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").pixels, pixels)
    write_image(tmp_path / "b.png", image)
    deep = read_image(tmp_path / "b.png").pixels
    np.testing.assert_array_equal(deep, pixels.astype(np.uint16) * 257)


def test_exif_of_each_page_stays_with_it(tmp_path: Path) -> None:
    import PIL.Image

    frames = [PIL.Image.fromarray(samples((8, 8, 3), seed=i)) for i in range(2)]
    frames[0].save(
        tmp_path / "a.tif", save_all=True, append_images=frames[1:], exif=exif_block(6)[6:]
    )
    image = read_image(tmp_path / "a.tif")
    assert [page.metadata.orientation for page in (image, *image.pages)] == [6, 6]
    write_image(tmp_path / "b.tif", image)
    with PIL.Image.open(tmp_path / "b.tif") as after:
        after.seek(1)
        assert after.getexif()[272] == "Model 7"
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        np.testing.assert_array_equal(file.pages[1].asarray(), samples((8, 8, 3), seed=1))


def test_an_image_without_further_pages_has_none() -> None:
    assert Image(_PHOTO).pages == ()


@pytest.mark.parametrize("compression", ["zlib", "lzw", None])
@pytest.mark.parametrize("damage", ["cut off", "empty"])
def test_tiles_that_cannot_be_read_are_no_black_parts(
    compression: str | None, damage: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    photo = samples((64, 64, 3))
    tifffile.imwrite(path, photo, tile=(32, 32), compression=compression, photometric="rgb")
    np.testing.assert_array_equal(read_image(path).pixels, photo)
    with tifffile.TiffFile(path) as file:
        starts, sizes = file.pages[0].dataoffsets, file.pages[0].databytecounts
    content = bytearray(path.read_bytes())
    if damage == "cut off":
        path.write_bytes(content[: starts[-1] + 5])
    elif compression is not None:
        content[starts[1] : starts[1] + sizes[1]] = bytes(sizes[1])
        path.write_bytes(content)
    if damage == "cut off" or compression is not None:
        with pytest.raises(ImageFileError, match="damaged"):
            read_image(path)


@pytest.mark.parametrize(
    ("pixels", "options", "why"),
    [
        (_PHOTO, {"compression": 50000}, "compressed as Zstandard"),
        (_PHOTO, {"compression": 34925}, "compressed as LZMA"),
        (_PHOTO.astype(np.float64) / 255, {}, "64-bit float samples"),
        (_PHOTO[..., 0], {"bitspersample": 12}, "12-bit samples"),
    ],
)
def test_what_is_not_read_is_named(
    pixels: np.ndarray, options: dict[str, Any], why: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(path, pixels[:16, :32], metadata=None, photometric=kind)
    with tifffile.TiffFile(path, mode="r+b") as file:
        tags = file.pages[0].tags
        if "compression" in options:
            tags["Compression"].overwrite(options["compression"])
        if "bitspersample" in options:
            tags["BitsPerSample"].overwrite(options["bitspersample"])
    with pytest.raises(ImageFileError, match=why):
        read_image(path)


def test_the_first_of_two_captions_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _PHOTO, photometric="rgb", description="a caption")
    with tifffile.TiffFile(path) as file:
        assert len([tag for tag in file.pages[0].tags if tag.code == 270]) == 2
    write_image(tmp_path / "b.tif", read_image(path))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].description == "a caption"
