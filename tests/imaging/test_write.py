"""What is read is written back: pixels, and everything a file says beside them."""

import errno
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import pyvips
from tests.imaging.conftest import IPTC, XMP, exif_block, profile, samples

from unveil.errors import InputError, OutputError
from unveil.imaging import Image, Metadata, read_image, tiff, write, write_image
from unveil.imaging.exif import parse_exif


def _exif(path: Path) -> dict[int, Any]:
    with PIL.Image.open(path) as image:
        exif = image.getexif()
        groups = [dict(exif), dict(exif.get_ifd(34665)), dict(exif.get_ifd(34853))]
    pointers = {34665, 34853}
    return {k: str(v) for group in groups for k, v in group.items() if k not in pointers}


def _pillow_kinds() -> dict[str, tuple[str, PIL.Image.Image, dict[str, Any]]]:
    rgb, gray = PIL.Image.fromarray(samples((23, 31, 3))), PIL.Image.fromarray(samples((23, 31)))
    rgba, gray_alpha = PIL.Image.fromarray(samples((23, 31, 4))), gray.convert("LA")
    gray16 = PIL.Image.fromarray(samples((23, 31), "uint16"))
    real = PIL.Image.fromarray(samples((23, 31), "float32"))
    carried = {"exif": exif_block(6), "icc_profile": profile(), "dpi": (240, 240)}
    palette = rgb.quantize(17)
    lossless = {"lossless": True, "exact": True}
    return {
        "png-rgb": (".png", rgb, carried),
        "png-rgba": (".png", rgba, carried),
        "png-gray": (".png", gray, carried),
        "png-gray-alpha": (".png", gray_alpha, {}),
        "png-gray16": (".png", gray16, carried),
        "png-1-bit": (".png", gray.convert("1"), {}),
        "png-palette": (".png", palette, carried),
        "png-palette-transparent": (".png", palette, {"transparency": 3}),
        "tiff-rgb": (".tif", rgb, carried),
        "tiff-rgba": (".tif", rgba, {"compression": "tiff_lzw"}),
        "tiff-gray": (".tiff", gray, {"compression": "tiff_adobe_deflate"}),
        "tiff-gray16": (".tif", gray16, carried),
        "tiff-float": (".tif", real, {"dpi": (72, 72)}),
        "webp-rgb": (".webp", rgb, {**lossless, "exif": exif_block(3), "xmp": XMP}),
        "webp-rgba": (".webp", rgba, {**lossless, "icc_profile": profile()}),
        "webp-plain": (".webp", rgb, lossless),
        "bmp-rgb": (".bmp", rgb, {"dpi": (96, 96)}),
        "bmp-gray": (".bmp", gray, {}),
    }


@pytest.mark.parametrize("kind", list(_pillow_kinds()))
def test_lossless_files_come_back_identical(kind: str, tmp_path: Path) -> None:
    suffix, image, options = _pillow_kinds()[kind]
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    image.save(source, **options)
    write_image(target, read_image(source))
    with PIL.Image.open(source) as before, PIL.Image.open(target) as after:
        mode = {"P": "RGBA", "1": "L", "PA": "RGBA"}.get(before.mode, before.mode)
        mode = "RGB" if mode == "RGBA" and after.mode == "RGB" else mode
        np.testing.assert_array_equal(np.asarray(before.convert(mode)), np.asarray(after))
        assert after.info.get("icc_profile") == before.info.get("icc_profile")
        assert after.info.get("dpi") == pytest.approx(before.info.get("dpi"))
        assert after.info.get("xmp") == before.info.get("xmp")
    structural = {
        256,
        257,
        258,
        259,
        262,
        273,
        277,
        278,
        279,
        284,
        305,
        317,
        338,
        339,
        530,
        531,
        532,
    }
    before_tags, after_tags = _exif(source), _exif(target)
    for tag in set(before_tags) - structural:
        assert after_tags[tag] == before_tags[tag], tag
    assert set(after_tags) - structural == set(before_tags) - structural


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_every_depth_and_channel_count_comes_back(
    suffix: str, dtype: str, bands: int, tmp_path: Path
) -> None:
    if suffix == ".png" and dtype == "float32":
        pytest.skip("PNG holds no floats")
    pixels = samples((19, 26, bands), dtype)
    names = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}
    image = pyvips.Image.new_from_memory(pixels.tobytes(), 26, 19, bands, names[dtype])
    spaces = {"uint8": "srgb", "uint16": "rgb16", "float32": "scrgb"}
    grays = {"uint8": "b-w", "uint16": "grey16", "float32": "b-w"}
    space = (spaces if bands > 2 else grays)[dtype]
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    image.copy(interpretation=space).write_to_file(str(source))
    read = read_image(source)
    colours = 1 if bands < 3 else 3
    np.testing.assert_array_equal(read.pixels, pixels[..., :colours])
    assert (read.alpha is None) == (bands in (1, 3))
    write_image(target, read)
    again = pyvips.Image.new_from_file(str(target))
    np.testing.assert_array_equal(again.numpy().reshape(pixels.shape), pixels)
    assert again.interpretation == space


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "packbits"])
def test_tiff_keeps_its_compression(compression: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pyvips.Image.new_from_array(samples((40, 40)).tolist()).cast("uchar").tiffsave(
        str(path), compression=compression
    )
    write_image(tmp_path / "b.tif", read_image(path))
    with PIL.Image.open(path) as before, PIL.Image.open(tmp_path / "b.tif") as after:
        assert after.tag_v2[259] == before.tag_v2[259]


def test_big_endian_files_keep_their_tags(tmp_path: Path) -> None:
    image = PIL.Image.fromarray(samples((8, 9), "uint16").astype(">u2"))
    image.save(tmp_path / "a.tif", exif=exif_block(), icc_profile=profile())
    assert (tmp_path / "a.tif").read_bytes().startswith(b"MM")
    write_image(tmp_path / "out.tif", read_image(tmp_path / "a.tif"))
    assert _exif(tmp_path / "out.tif")[34855] == "800"
    with PIL.Image.open(tmp_path / "out.tif") as after:
        assert after.info["icc_profile"] == profile()


def test_bigtiff_carries_exif_too(tmp_path: Path) -> None:
    path = tmp_path / "big.tif"
    gray = pyvips.Image.new_from_memory(samples((8, 9)).tobytes(), 9, 8, 1, "uchar")
    gray.tiffsave(str(path), bigtiff=True)
    tiff.embed(path, Metadata(exif=exif_block()[6:], icc=profile()), verbatim=False)
    assert path.read_bytes()[2] == 43
    read = read_image(path)
    np.testing.assert_array_equal(read.pixels, samples((8, 9))[..., None])
    assert parse_exif(read.metadata.exif).children[34665].values[34855].first() == 800
    assert pyvips.Image.new_from_file(str(path)).get("icc-profile-data") == profile()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png", ".webp"])
def test_orientation_is_honoured_and_kept(orientation: int, suffix: str, tmp_path: Path) -> None:
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    ramp = np.add.outer(np.arange(24), 4 * np.arange(40)).astype(np.uint8)
    options = {"lossless": True} if suffix == ".webp" else {}
    rgb = PIL.Image.fromarray(ramp.repeat(3).reshape(24, 40, 3))
    rgb.save(source, exif=exif_block(orientation), **options)
    image = read_image(source)
    with PIL.Image.open(source) as before:
        seen = np.asarray(PIL.ImageOps.exif_transpose(before))
    np.testing.assert_array_equal(image.pixels, seen)
    assert image.pixels.flags.c_contiguous
    write_image(target, image)
    with PIL.Image.open(target) as after:
        assert after.getexif()[274] == orientation
        again = np.asarray(PIL.ImageOps.exif_transpose(after)).astype(int)
    assert np.abs(again - seen).max() <= (3 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".avif", ".heic"])
def test_a_turned_jpeg_lies_upright_in_another_format(
    suffix: str, jpeg_file: Callable[..., Path], tmp_path: Path
) -> None:
    source, target = jpeg_file(6), tmp_path / f"out{suffix}"
    image = read_image(source)
    write_image(target, image)
    again = read_image(target)
    assert again.pixels.shape == image.pixels.shape == (51, 37, 3)
    assert again.metadata.orientation == 1
    assert again.metadata.icc == profile()
    assert again.metadata.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    tags = _exif(target) if suffix not in (".avif", ".heic") else {271: "Maker", 34855: "800"}
    assert (tags[271], tags[34855]) == ("Maker", "800")
    if suffix in (".png", ".tif"):
        np.testing.assert_array_equal(again.pixels, image.pixels)


@pytest.mark.parametrize("suffix", [".avif", ".jpg", ".png", ".tif", ".webp"])
def test_an_avif_that_was_turned_already_is_not_turned_again(
    suffix: str, jpeg_file: Callable[..., Path], tmp_path: Path
) -> None:
    turned = tmp_path / "in.avif"
    pyvips.Image.new_from_file(str(jpeg_file(6))).heifsave(str(turned), compression="av1")
    image = read_image(turned)
    write_image(tmp_path / f"out{suffix}", image)
    again = read_image(tmp_path / f"out{suffix}")
    assert again.pixels.shape == image.pixels.shape == (51, 37, 3)
    assert again.metadata.orientation == 1
    if suffix in (".png", ".tif"):
        np.testing.assert_array_equal(again.pixels, image.pixels)


@pytest.mark.parametrize("source", ["a.png", "a.tif", "a.bmp"])
@pytest.mark.parametrize("target", ["b.png", "b.tif", "b.bmp", "b.jpg"])
def test_an_absurd_density_is_none(source: str, target: str, tmp_path: Path) -> None:
    dpi = 4e9 if source == "a.tif" else 1e8  # near the largest number each can store
    PIL.Image.fromarray(samples((8, 8, 3))).save(tmp_path / source, dpi=(dpi, dpi))
    image = read_image(tmp_path / source)
    assert image.metadata.density is None
    write_image(tmp_path / target, image)
    assert read_image(tmp_path / target).pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("target", ["b.jpg", "b.png", "b.tif", "b.bmp"])
@pytest.mark.parametrize("density", [(0, 0), (0, 300), (300, 0)])
def test_a_jfif_density_of_nothing_is_none(
    target: str, density: tuple[int, int], tmp_path: Path
) -> None:
    PIL.Image.fromarray(samples((8, 8, 3))).save(tmp_path / "a.jpg", dpi=(300, 300))
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    assert content[6:14] == b"JFIF\0\1\1\1"
    content[14:18] = b"".join(side.to_bytes(2, "big") for side in density)
    (tmp_path / "a.jpg").write_bytes(content)
    image = read_image(tmp_path / "a.jpg")
    assert image.metadata.density is None
    write_image(tmp_path / target, image)
    assert read_image(tmp_path / target).pixels.shape == (8, 8, 3)


def test_jpeg_keeps_every_segment(jpeg_file: Callable[..., Path], tmp_path: Path) -> None:
    source = jpeg_file(8)
    before = read_image(source)
    write_image(tmp_path / "out.jpg", before)
    after = read_image(tmp_path / "out.jpg")
    assert after.metadata == before.metadata
    assert (before.metadata.iptc, before.metadata.xmp) == (IPTC, XMP)
    assert b"hello" in (tmp_path / "out.jpg").read_bytes()
    assert before.metadata.density == pytest.approx((300 / 25.4, 300 / 25.4))


@pytest.mark.parametrize("quality", [5, 30, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_quality_follows_the_tables(
    quality: int,
    subsampling: int,
    progressive: bool,
    jpeg_file: Callable[..., Path],
    tmp_path: Path,
) -> None:
    source = jpeg_file(quality=quality, subsampling=subsampling, progressive=progressive)
    write_image(tmp_path / "out.jpg", read_image(source))
    with PIL.Image.open(source) as before, PIL.Image.open(tmp_path / "out.jpg") as after:
        assert after.quantization == before.quantization
        assert after.layer == before.layer
        assert bool(after.info.get("progressive")) == progressive


def test_quality_option_wins(jpeg_file: Callable[..., Path], tmp_path: Path) -> None:
    write_image(tmp_path / "out.jpg", read_image(jpeg_file(quality=30)), quality=97)
    assert read_image(tmp_path / "out.jpg").metadata.quality[0] == 97


def test_gray_jpeg_stays_gray(jpeg_file: Callable[..., Path], tmp_path: Path) -> None:
    source = jpeg_file(gray=True, icc_profile=None)
    assert read_image(source).pixels.shape == (37, 51, 1)
    write_image(tmp_path / "out.jpg", read_image(source))
    with PIL.Image.open(tmp_path / "out.jpg") as after:
        assert after.mode == "L"


def test_metadata_crosses_formats_in_both_directions(
    jpeg_file: Callable[..., Path], tmp_path: Path
) -> None:
    source = jpeg_file()
    write_image(tmp_path / "a.tif", read_image(source))
    write_image(tmp_path / "b.jpg", read_image(tmp_path / "a.tif"))
    before, after = _exif(source), _exif(tmp_path / "b.jpg")
    assert {tag: after.get(tag) for tag in before} == before
    first, last = read_image(source).metadata, read_image(tmp_path / "b.jpg").metadata
    assert (last.icc, last.xmp, last.iptc) == (first.icc, first.xmp, first.iptc)
    assert last.density == pytest.approx(first.density, rel=0.01)


def test_deep_samples_are_rounded_when_a_format_is_shallow(tmp_path: Path) -> None:
    pixels = samples((16, 16, 3), "uint16")
    pyvips.Image.new_from_memory(pixels.tobytes(), 16, 16, 3, "ushort").copy(
        interpretation="rgb16"
    ).write_to_file(str(tmp_path / "a.png"))
    write_image(tmp_path / "b.bmp", read_image(tmp_path / "a.png"))
    wanted = np.round(pixels / 257).astype(np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / "b.bmp").pixels, wanted)


def test_transparency_is_not_dropped_in_silence(tmp_path: Path) -> None:
    PIL.Image.fromarray(samples((5, 5, 4))).save(tmp_path / "a.png")
    with pytest.raises(OutputError, match=r"transparency.*png"):
        write_image(tmp_path / "a.jpg", read_image(tmp_path / "a.png"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]


@pytest.mark.parametrize(("name", "quality"), [("a.xyz", None), ("a", None), ("a.jpg", 0)])
def test_impossible_outputs_are_refused(name: str, quality: int | None, tmp_path: Path) -> None:
    PIL.Image.fromarray(samples((5, 5, 3))).save(tmp_path / "in.png")
    with pytest.raises(InputError):
        write_image(tmp_path / name, read_image(tmp_path / "in.png"), quality=quality)


def test_nothing_is_left_behind_when_the_folder_is_missing(tmp_path: Path) -> None:
    PIL.Image.fromarray(samples((5, 5, 3))).save(tmp_path / "in.png")
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(tmp_path / "none" / "a.png", read_image(tmp_path / "in.png"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_a_full_disk_leaves_no_file(suffix: str, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    import signal

    image = read_image(_big_png(tmp_path))
    before = sorted(os.listdir(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            write_image(tmp_path / f"out{suffix}", image, quality=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif"])
def test_a_full_disk_is_named_and_no_temporary_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = write._encode

    def onto_a_full_disk(image: Any, path: Path, saver: str, **options: Any) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/full")
        encode(image, path, saver, **options)

    monkeypatch.setattr(write, "_encode", onto_a_full_disk)
    target = tmp_path / f"out{suffix}"
    with pytest.raises(OutputError) as refused:
        write_image(target, read_image(_big_png(tmp_path)))
    said = f"{target}: cannot be written: the disk that holds {tmp_path} is full"
    assert str(refused.value).startswith(said)
    assert refused.value.errno == errno.ENOSPC
    assert sorted(os.listdir(tmp_path)) == ["in.png"]


def _big_png(folder: Path) -> Path:
    PIL.Image.fromarray(samples((200, 200, 3))).save(folder / "in.png")
    return folder / "in.png"


def test_threads_may_write_at_once(tmp_path: Path) -> None:
    image = read_image(_big_png(tmp_path))
    jobs = [
        threading.Thread(target=write_image, args=(tmp_path / f"{i % 3}.png", image))
        for i in range(12)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    for i in range(3):
        np.testing.assert_array_equal(read_image(tmp_path / f"{i}.png").pixels, image.pixels)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("suffix", "least"), [(".jpg", 95), (".webp", 0), (".avif", 0)])
def test_without_a_wish_the_quality_is_high(suffix: str, least: int, tmp_path: Path) -> None:
    y, x = np.mgrid[:64, :96] / 7
    waves = 127 + 60 * np.sin(x) * np.cos(y) + np.random.default_rng(0).normal(0, 3, x.shape)
    pixels = waves.astype(np.uint8)[..., None].repeat(3, 2)
    write_image(tmp_path / f"a{suffix}", Image(pixels))
    back = read_image(tmp_path / f"a{suffix}")
    assert np.square(back.pixels.astype(float) - pixels).mean() < 255**2 / 10**4  # 40 dB
    if least:
        assert back.metadata.quality is not None
        assert back.metadata.quality[0] == least


def test_unequal_density_and_times_of_a_png_are_carried(tmp_path: Path) -> None:
    chunks = {
        b"pHYs": struct.pack(">IIB", 4000, 2000, 1),
        b"tIME": struct.pack(">HBBBBB", 2024, 5, 6, 7, 8, 9),
        b"tEXt": b"Title\0a walk",
        b"cICP": bytes([12, 13, 0, 1]),
    }
    PIL.Image.fromarray(samples((6, 5, 3))).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    ]
    (tmp_path / "a.png").write_bytes(content[:33] + b"".join(parts) + content[33:])
    image = read_image(tmp_path / "a.png")
    assert image.metadata.density == (4.0, 2.0)
    write_image(tmp_path / "b.png", image)
    again = (tmp_path / "b.png").read_bytes()
    assert all(part in again for part in parts)
    # What says how colours are meant stands before the pixels.
    assert again.index(b"cICP") < again.index(b"IDAT")
    for target in ("c.jpg", "c.tif"):
        write_image(tmp_path / target, image)
        density = read_image(tmp_path / target).metadata.density
        assert density == pytest.approx((4.0, 2.0), rel=0.01)


def test_a_profile_of_several_jpeg_segments_is_whole(tmp_path: Path) -> None:
    large = profile() + np.random.default_rng(0).bytes(150_000)
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        image = Image(samples((8, 8, 3)), metadata=Metadata(icc=large))
        write_image(tmp_path / f"a{suffix}", image)
        back = read_image(tmp_path / f"a{suffix}")
        assert back.metadata.icc == large, suffix
        write_image(tmp_path / "b.jpg", back)
        assert read_image(tmp_path / "b.jpg").metadata.icc == large, suffix


@pytest.mark.parametrize("suffix", [".webp", ".heic", ".avif"])
def test_lossy_files_keep_their_alpha(suffix: str, tmp_path: Path) -> None:
    if suffix == ".heic":
        pytest.importorskip("pillow_heif")
    alpha = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None], 48, 0)
    image = Image(np.full((48, 64, 3), 120, np.uint8), alpha=alpha)
    write_image(tmp_path / f"a{suffix}", image, quality=90)
    back = read_image(tmp_path / f"a{suffix}")
    assert back.alpha is not None
    assert np.abs(back.alpha.astype(int) - alpha).mean() < 3
    assert np.abs(back.pixels[:, 32:].astype(int) - 120).mean() < 4
