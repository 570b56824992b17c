"""Metadata of a raw photograph: EXIF with maker notes, DNG's own tags.

Source: DNG 1.7, TIFF/EP (ISO 12234-2); for RAF and CR3, the descriptions of LibRaw and of Canon's
CR3 by L. Clévy, as facts.
"""

import os
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from unveil.imaging.exif import build_exif, parse_exif
from unveil.imaging.ifd import EXIF_IFD, GPS_IFD, IPTC, ORIENTATION, XMP, Ifd, TagValue
from unveil.imaging.image import Metadata
from unveil.imaging.jpeg import exif_of
from unveil.imaging.tiff_pages import DNG_VERSION
from unveil.imaging.tiff_structure import TiffStructure

_WHITE_LEVEL, _BASELINE_EXPOSURE = 50717, 50730
# Tags of a first directory that speak of the picture, not of its samples.
_PICTURE = frozenset(
    {270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432, 36867, 36868, 18246, 18249}
)
_DEVELOPED = b"http://ns.adobe.com/camera-raw-settings/1.0/"
# Offsets and byte counts of strips, and of tiles.
_PARTS = ((273, 279), (324, 325))
_RAF_PREVIEW = 84
_CR3_HEAD = 2**20


@dataclass(frozen=True)
class RawTags:
    """Metadata of a raw photograph.

    Attributes:
        exif: Its directories; the orientation is upright, as the pixels will be.
        xmp: XMP packet, unless it holds a raw converter's settings.
        iptc: IPTC-IIM block.
        baseline_exposure: Exposure that a DNG file specifies, in stops.
        lacks_white: Whether it is a DNG file that gives no white level.
        truncated: Whether it ends before its samples do; LibRaw fills up what is missing.
        left_out: What no result keeps, in words.
    """

    exif: Ifd = field(default_factory=Ifd)
    xmp: bytes | None = None
    iptc: bytes | None = None
    baseline_exposure: float = 0.0
    lacks_white: bool = False
    truncated: bool = False
    left_out: tuple[str, ...] = ()

    def metadata(self, icc: bytes) -> Metadata:
        """Return the metadata of the developed picture, whose colours `icc` describes."""
        return Metadata(exif=build_exif(self.exif), icc=icc, xmp=self.xmp, iptc=self.iptc)


def read_tags(path: Path) -> RawTags:
    """Read the metadata of the raw photograph at `path`; nothing where it cannot be understood."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
            if head.startswith(b"FUJIFILM"):
                found = RawTags(_raf(file))
            elif head[4:8] == b"ftyp":
                found = RawTags(_cr3(file))
            else:
                found = _tiff(file)
    except (ValueError, struct.error, OverflowError):
        return RawTags()
    upright = TagValue(3, 1, struct.pack("<H", 1))
    values = {**found.exif.values, ORIENTATION: upright}
    return replace(found, exif=Ifd(values, found.exif.children)) if found.exif else found


def _tiff(file: BinaryIO) -> RawTags:
    directories = [ifd for page in TiffStructure(file).pages() for ifd in page]
    ifd = directories[0]
    xmp = ifd.data(XMP)
    settings = xmp is not None and _DEVELOPED in xmp
    size = file.seek(0, os.SEEK_END)
    return RawTags(
        exif=_picture(ifd),
        xmp=None if settings else xmp,
        iptc=ifd.data(IPTC),
        baseline_exposure=ifd.number(_BASELINE_EXPOSURE),
        lacks_white=DNG_VERSION in ifd.values
        and not any(_WHITE_LEVEL in other.values for other in directories),
        truncated=any(_end(other) > size for other in directories),
        left_out=("a raw converter's settings in its XMP",) if settings else (),
    )


def _end(ifd: Ifd) -> int:
    """Return the offset after the last strip or tile of a directory."""
    ends = [0]
    for offsets, counts in _PARTS:
        places = zip(ifd.integers(offsets), ifd.integers(counts), strict=False)
        ends += [offset + count for offset, count in places]
    return max(ends)


def _raf(file: BinaryIO) -> Ifd:
    file.seek(_RAF_PREVIEW)
    offset, size = struct.unpack(">II", file.read(8))
    file.seek(offset)
    return _picture(parse_exif(exif_of(file.read(min(size, 2**24))) or b""))


def _cr3(file: BinaryIO) -> Ifd:
    file.seek(0)
    head = file.read(_CR3_HEAD)

    def part(name: bytes) -> Ifd:
        at = head.find(name)
        size = int.from_bytes(head[at - 4 : at], "big")
        return parse_exif(head[at + 4 : at - 4 + size]) if at >= 4 else Ifd()

    children = {EXIF_IFD: part(b"CMT2"), GPS_IFD: part(b"CMT4")}
    return _picture(Ifd(part(b"CMT1").values, {t: ifd for t, ifd in children.items() if ifd}))


def _picture(ifd: Ifd) -> Ifd:
    return Ifd({t: v for t, v in ifd.values.items() if t in _PICTURE}, ifd.children)
