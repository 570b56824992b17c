"""EXIF blocks: read, build, and set the orientation without touching anything else."""

import io
import re
import struct
from dataclasses import replace

from unveil.imaging.ifd import (
    EXIF_IFD,
    ICC,
    IPTC,
    MAKER_NOTE,
    ORIENTATION,
    PHOTOSHOP,
    XMP,
    Ifd,
    TagValue,
    TiffLayout,
    write_ifd,
)
from unveil.imaging.image import Metadata
from unveil.imaging.tiff_structure import TiffStructure

_STRUCTURE = """
254 255 256 257 258 259 262 263 264 265 266 273 277 278 279 280 281 284 288 289 290 291 292 293 317
320 322 323 324 325 330 332 333 334 336 338 339 340 341 342 347 512 513 514 515 517 518 519 520 521
529 530 531 532
"""
# Tags that describe how samples are stored; they belong to the file, never to the picture.
STRUCTURE = frozenset(int(tag) for tag in _STRUCTURE.split())
_SEPARATE = (XMP, IPTC, PHOTOSHOP, ICC)


def parse_exif(block: bytes) -> Ifd:
    """Return the directories of an EXIF block; empty when it cannot be read.

    >>> bool(parse_exif(b"nonsense"))
    False
    """
    try:
        structure = TiffStructure(io.BytesIO(block))
        return structure.directory(structure.first)
    except (ValueError, struct.error, OverflowError):
        return Ifd()


def build_exif(ifd: Ifd, limit: int | None = None) -> bytes | None:
    """Return an EXIF block with the picture's tags of a TIFF directory.

    Args:
        ifd: First directory of a TIFF file.
        limit: Largest block wanted; maker notes are given up to meet it.
    """
    values = {t: v for t, v in ifd.values.items() if t not in STRUCTURE and t not in _SEPARATE}
    wanted = Ifd(values, dict(ifd.children))
    if not wanted:
        return None
    block = _serialise(wanted)
    if limit is not None and len(block) > limit and EXIF_IFD in wanted.children:
        exif = wanted.children[EXIF_IFD]
        kept = {tag: value for tag, value in exif.values.items() if tag != MAKER_NOTE}
        wanted.children[EXIF_IFD] = Ifd(kept, exif.children)
        block = _serialise(wanted)
    return block if limit is None or len(block) <= limit else None


def _serialise(ifd: Ifd) -> bytes:
    layout = TiffLayout("<", False)
    return b"II*\0" + layout.pack("I", 8) + write_ifd(ifd, layout, 8)


def orientation_of(block: bytes | None) -> int:
    """Return the EXIF orientation 1–8 in a block; 1 when it says nothing sensible.

    >>> orientation_of(None)
    1
    """
    if not block:
        return 1
    number = parse_exif(block).first(ORIENTATION, 1)
    return number if 1 <= number <= 8 else 1


def turned_upright(metadata: Metadata) -> Metadata:
    """Return `metadata` for pixels that are stored upright: orientation 1 wherever it is said."""
    if metadata.orientation == 1:
        return metadata
    xmp = metadata.xmp and re.sub(rb"(tiff:Orientation(?:=[\"']|>))[2-8]", rb"\g<1>1", metadata.xmp)
    exif = metadata.exif and _with_orientation(metadata.exif, 1)
    return replace(metadata, orientation=1, exif=exif, xmp=xmp)


def _with_orientation(block: bytes, orientation: int) -> bytes:
    """Overwrite the value where it stands: rebuilding the block would break maker notes."""
    try:
        structure = TiffStructure(io.BytesIO(block))
        at = structure.entry(structure.first, ORIENTATION) + structure.layout.cell
    except (ValueError, struct.error, OverflowError):
        return block
    return block[:at] + structure.layout.pack("HH", orientation, 0) + block[at + 4 :]


def tiff_directory(metadata: Metadata) -> Ifd:
    """Return the directory a TIFF file needs to carry `metadata` from another format."""
    ifd = parse_exif(metadata.exif) if metadata.exif else Ifd()
    values = {tag: value for tag, value in ifd.values.items() if tag not in STRUCTURE}
    for tag, kind, data in (
        (XMP, 1, metadata.xmp),
        (IPTC, 7, metadata.iptc),
        (ICC, 7, metadata.icc),
    ):
        if data:
            values[tag] = TagValue(kind, len(data), data)
    if metadata.density and 282 not in values:
        for tag, per_millimetre in zip((282, 283), metadata.density, strict=True):
            values[tag] = TagValue(5, 1, struct.pack("<II", round(per_millimetre * 25400), 1000))
        values[296] = TagValue(3, 1, struct.pack("<H", 2))
    values[ORIENTATION] = TagValue(3, 1, struct.pack("<H", metadata.orientation))
    return Ifd(values, ifd.children)
