"""Boxes of AVIF and HEIC files: EXIF goes in and out as it is; other parts are named."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import pyvips
from tests.imaging.conftest import exif_block, profile, samples

from unveil.imaging import Image, Metadata, heif, read_image, write_image
from unveil.imaging.format_losses import losses
from unveil.imaging.formats import AVIF, HEIC, JPEG, PNG
from unveil.imaging.heif_items import parse_items
from unveil.imaging.image import GAIN_MAP

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
    assert heif.read_facts(tmp_path / "a.avif").exif == _BLOCK
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
    assert heif.read_facts(tmp_path / "a.avif").exif is None


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


_PQ, _P3 = (9, 16), (12, 13)


def _avif_of_codes(folder: Path, codes: tuple[int, int], bits: int = 10) -> Path:
    pixels = samples((40, 48, 3), "uint16")
    write_image(folder / "a.avif", Image(pixels, format=AVIF, bits=bits))
    heif.put_cicp(folder / "a.avif", codes, lossless=False)
    return folder / "a.avif"


@pytest.mark.parametrize("codes", [_PQ, _P3, (9, 18)])
def test_the_codes_of_colours_stay(codes: tuple[int, int], tmp_path: Path) -> None:
    source = _avif_of_codes(tmp_path, codes)
    image = read_image(source)
    assert image.metadata.cicp == codes
    for suffix in (".avif", ".png", ".heic"):
        target = tmp_path / f"b{suffix}"
        write_image(target, image)
        assert read_image(target).metadata.cicp == codes, suffix
        assert losses(image, PNG) == []
    assert b"cICP" + bytes([*codes, 0, 1]) in (tmp_path / "b.png").read_bytes()
    assert "will look different" in losses(image, JPEG)[1]
    write_image(tmp_path / "c.avif", read_image(tmp_path / "b.png"))
    assert read_image(tmp_path / "c.avif").metadata.cicp == codes


def test_the_codes_of_a_heic_stay(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    whole = pillow_heif.from_pillow(PIL.Image.fromarray(samples((64, 64, 3))))
    whole.save(tmp_path / "a.heic", color_primaries=12, transfer_characteristics=13, chroma="444")
    image = read_image(tmp_path / "a.heic")
    assert image.metadata.cicp == _P3
    write_image(tmp_path / "b.heic", image)
    given = pillow_heif.open_heif(tmp_path / "b.heic").info["nclx_profile"]
    assert (given["color_primaries"], given["transfer_characteristics"]) == _P3
    assert not read_image(tmp_path / "b.heic").metadata.subsampled


def test_colours_multiplied_by_transparency_are_divided(tmp_path: Path) -> None:
    y, x = np.mgrid[:48, :64]
    colours = np.stack([2 * x + 90, 2 * y + 90, 200 - x], -1).astype(np.uint8)
    alpha = (4 * x).clip(40, 255).astype(np.uint8)
    dark = np.rint(colours * (alpha[..., None] / 255)).astype(np.uint8)
    metadata = Metadata(lossless=True, subsampled=False)
    path = tmp_path / "a.avif"
    write_image(path, Image(dark, alpha, format=AVIF, metadata=metadata))
    items = heif._items(path)
    (auxiliary,) = (i for kind, i, _ in items.references if kind == b"auxl")
    items.references.append((b"prem", items.primary, [auxiliary]))
    heif._rewrite(path, items, {})
    with PIL.Image.open(path) as file:  # libavif divides them
        other = np.asarray(file.convert("RGBA")).astype(int)
    image = read_image(path)
    assert np.abs(image.pixels - other[..., :3]).max() <= 3
    assert np.abs(image.pixels - colours.astype(int)).max() <= 4
    write_image(tmp_path / "b.avif", image)
    again = read_image(tmp_path / "b.avif")
    np.testing.assert_array_equal(again.pixels, image.pixels)
    np.testing.assert_array_equal(again.alpha, alpha)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_an_avif_without_loss_stays_one(bits: int, tmp_path: Path) -> None:
    pixels = samples((40, 48, 3), "uint8" if bits == 8 else "uint16")
    metadata = Metadata(lossless=True, subsampled=False)
    first = Image(pixels, format=AVIF, bits=bits, metadata=metadata)
    write_image(tmp_path / "a.avif", first)
    image = read_image(tmp_path / "a.avif")
    assert image.metadata.lossless
    write_image(tmp_path / "b.avif", image)
    np.testing.assert_array_equal(read_image(tmp_path / "b.avif").pixels, image.pixels)


def test_colour_of_full_resolution_and_gray_stay(tmp_path: Path) -> None:
    for subsample, wanted in (("off", False), ("on", True)):
        picture = pyvips.Image.new_from_array(samples((40, 48, 3)), interpretation="srgb")
        picture.heifsave(str(tmp_path / "a.avif"), compression="av1", subsample_mode=subsample)
        write_image(tmp_path / "b.avif", read_image(tmp_path / "a.avif"))
        assert heif.read_facts(tmp_path / "b.avif").subsampled is wanted
    gray = PIL.Image.fromarray(samples((40, 48, 1))[..., 0])
    gray.save(tmp_path / "g.avif", quality=90, subsampling="4:0:0")
    image = read_image(tmp_path / "g.avif")
    assert image.pixels.shape == (40, 48, 1)
    write_image(tmp_path / "h.avif", image)
    assert np.ptp(read_image(tmp_path / "h.avif").pixels, axis=2).max() == 0


def test_a_table_that_is_damaged_is_refused() -> None:
    with pytest.raises(ValueError, match="does not"):
        parse_items(bytes(4) + b"\0\0\0\x10iloc" + bytes([0, 0, 0, 0, 0x44, 0, 0, 9]))


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_a_gain_map_that_is_left_out_is_named_and_no_longer_claimed(
    suffix: str, tmp_path: Path
) -> None:
    if suffix == ".heic":
        pytest.importorskip("pillow_heif")
    packet = (
        b'<d xmlns:h="http://ns.apple.com/HDRGainMap/1.0/" h:HDRGainMapVersion="65536" '
        b'xmlns:g="http://ns.adobe.com/hdr-gain-map/1.0/" g:Version="1.0" g:BaseRendition="SDR" '
        b'xmlns:o="urn:x" o:Other="2"/>'
    )
    path = tmp_path / f"a{suffix}"
    write_image(path, Image(samples((64, 64, 3)), metadata=Metadata(xmp=packet)))
    assert read_image(path).left_out == ()
    # The map as phones store it: an auxiliary item beside the picture (Apple), and a derived one
    # of both (ISO 21496-1).
    items = heif._items(path)
    for kind in (items.kind(items.primary), b"tmap"):
        number = items.add(kind)
        items.places[number] = items.places[items.primary]
        items.of_item[number] = list(items.of_item[items.primary])
        if kind == b"tmap":
            items.references.append((b"dimg", number, [items.primary, number - 1]))
            continue
        mark = bytes(4) + b"urn:com:apple:photo:2020:aux:hdrgainmap\0"
        items.add_property(number, b"auxC", mark, essential=False)
        items.references.append((b"auxl", number, [items.primary]))
    heif._rewrite(path, items, {})
    image = read_image(path)
    assert image.left_out == (GAIN_MAP,)
    write_image(tmp_path / f"b{suffix}", image)
    result = (tmp_path / f"b{suffix}").read_bytes()
    assert not any(mark in result for mark in (b"hdrgainmap", b"tmap", b"HDRGainMapV", b"g:Ver"))
    assert b'o:Other="2"' in result
    assert losses(image, HEIC) == [f"left out: {GAIN_MAP}"]
