"""DNG files of known scenes, with the structures that cameras and converters write."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WHITE_BALANCE = (2.0, 1.0, 1.5)
_BLACK, _WHITE = 512, 15360
# XYZ to linear sRGB (IEC 61966-2-1).
_SRGB = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.969266, 1.8760108, 0.041556],
     [0.0556434, -0.2040259, 1.0572252]]
)  # fmt: skip
_DATE = b"2026:05:06 07:08:09\0"
NOTE = b"maker\0note" * 20


def scene(height: int = 96, width: int = 128) -> np.ndarray:
    """Return linear sRGB: gray and orange halves, white, a bright red, and far above white."""
    light = np.full((height, width, 3), 0.18)
    light[:, width // 2 :] = [0.4, 0.1, 0.05]
    light[:20, :20] = 1.0
    light[20:40, :20] = [0.95, 0.3, 0.2]
    light[60:, :20] = 4.0
    return light


def write_dng(path: Path, light: np.ndarray | None = None, **options: Any) -> Path:
    """Write a DNG file.

    Args:
        path: Of the file.
        light: ``(h, w, 3)`` linear sRGB; by default `scene`.
        options: `bits`, `black`, `white` (None leaves the tag out), `linear` (whole colours in
            place of a mosaic), `active` and `crop` (top, left, bottom, right; left, top, width,
            height), `orientation`, `baseline` (stops), `order`, `preview` (in the first
            directory, the raw in a SubIFD), `exif`, `xmp`, `iptc`, `pattern`, `lossless_jpeg`.
    """
    tifffile = pytest.importorskip("tifffile")
    given = {"bits": 16, "black": _BLACK, "white": _WHITE, "linear": False, **options}
    black, end = given["black"], given["white"] or _WHITE
    light = scene() if light is None else light
    camera = np.minimum(light / np.array(WHITE_BALANCE), 1.0)
    pattern = given.get("pattern", (0, 1, 1, 2))
    if not given["linear"]:
        mosaic = np.zeros(camera.shape[:2])
        for i, channel in enumerate(pattern):
            mosaic[i // 2 :: 2, i % 2 :: 2] = camera[i // 2 :: 2, i % 2 :: 2, channel]
        camera = mosaic
    samples = np.rint(camera * (end - black) + black).astype(np.uint16)
    raw = [(50714, "H", 3 if given["linear"] else 1, black, True)]
    if given["linear"]:
        raw = [(50714, "H", 3, (black,) * 3, True)]
    else:
        raw += [(33421, "H", 2, (2, 2), True), (33422, "B", 4, pattern, True)]
    if given["white"]:
        number = 3 if given["linear"] else 1
        raw.append((50717, "I", number, (end,) * number if number > 1 else end, True))
    if "active" in given:
        raw.append((50829, "I", 4, given["active"], True))
    if "crop" in given:
        raw += [(50719, "I", 2, given["crop"][:2], True), (50720, "I", 2, given["crop"][2:], True)]
    shape = {
        "photometric": 34892 if given["linear"] else 32803,
        "planarconfig": "contig" if given["linear"] else None,
        "metadata": None,
    }
    if given.get("lossless_jpeg"):  # as most converters to DNG write it, here in one strip
        codecs = pytest.importorskip("imagecodecs")
        shape |= {"compression": 7, "shape": samples.shape, "dtype": samples.dtype}
        shape["rowsperstrip"] = len(samples)
        samples = iter([codecs.ljpeg_encode(samples, bitspersample=16)])
    with tifffile.TiffWriter(path, byteorder=given.get("order", "<")) as file:
        if given.get("preview"):
            small = np.full((12, 16, 3), 40, np.uint8)
            file.write(
                small, photometric="rgb", subfiletype=1, subifds=1, extratags=_first(given),
                metadata=None,
            )  # fmt: skip
            file.write(samples, subfiletype=0, extratags=raw, **shape)
        else:
            file.write(samples, subfiletype=0, extratags=_first(given) + raw, **shape)
    if given.get("exif"):
        _add_exif(path)
    return path


def _first(given: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the tags of the first directory."""
    matrix = (np.diag(1 / np.array(WHITE_BALANCE)) @ _SRGB).ravel()
    ratios = [part for value in matrix for part in (round(value * 10000), 10000)]
    neutral = [part for gain in WHITE_BALANCE for part in (10000, round(gain * 10000))]
    tags: list[tuple[Any, ...]] = [
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50707, "B", 4, (1, 1, 0, 0), True),
        (50708, "s", 0, "Maker Model 7", True),
        (271, "s", 0, "Maker", True),
        (272, "s", 0, "Model 7", True),
        (274, "H", 1, given.get("orientation", 1), True),
        (50721, "2i", 9, ratios, True),
        (50728, "2I", 3, neutral, True),
        (50778, "H", 1, 21, True),
    ]
    if "baseline" in given:
        tags.append((50730, "2i", 1, (round(given["baseline"] * 100), 100), True))
    if "iptc" in given:
        tags.append((33723, "B", len(given["iptc"]), given["iptc"], True))
    if "xmp" in given:
        tags.append((700, "B", len(given["xmp"]), given["xmp"], True))
    return tags


def _add_exif(path: Path) -> None:
    """Append an EXIF directory, with a maker note, to the first directory of a little-endian file.

    The directory is written anew at the end of the file, with one entry more.
    """
    content = bytearray(path.read_bytes())
    at = int.from_bytes(content[4:8], "little")
    number = int.from_bytes(content[at : at + 2], "little")
    entries = [bytes(content[at + 2 + 12 * i : at + 14 + 12 * i]) for i in range(number)]
    end = len(content) + len(content) % 2
    content += bytes(len(content) % 2)
    rows = 3
    data = end + 2 + 12 * rows + 4
    exif = struct.pack("<H", rows)
    exif += struct.pack("<HHII", 34855, 3, 1, 800)
    exif += struct.pack("<HHII", 36867, 2, len(_DATE), data)
    exif += struct.pack("<HHII", 37500, 7, len(NOTE), data + len(_DATE))
    content += exif + bytes(4) + _DATE + NOTE
    entries.append(struct.pack("<HHII", 34665, 4, 1, end))
    start = len(content)
    content += struct.pack("<H", number + 1) + b"".join(sorted(entries, key=_tag)) + bytes(4)
    content[4:8] = start.to_bytes(4, "little")
    path.write_bytes(content)


def _tag(entry: bytes) -> int:
    return int.from_bytes(entry[:2], "little")
