"""Metadata of TIFF files: every tag that does not say how the samples are stored.

libvips writes no EXIF into TIFF, so the directory it wrote is replaced by one that has it.
"""

import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from unveil.imaging.exif import STRUCTURE, build_exif, tiff_directory
from unveil.imaging.ifd import ICC, IPTC, ORIENTATION, XMP, Ifd, TagValue
from unveil.imaging.image import Metadata, plausible_density
from unveil.imaging.tiff_pages import (
    COMPRESSION,
    DNG_TAGS,
    DNG_VERSION,
    NEW_SUBFILE_TYPE,
    PHOTOMETRIC,
)
from unveil.imaging.tiff_structure import TiffStructure

EXTRA_SAMPLES = 338
_ASSOCIATED, _UNASSOCIATED = 1, 2
_SHORT = 3
_OFFSETS = (273, 324)
_UNIT = 296
_MIN_SAMPLE, _MAX_SAMPLE = 340, 341
_KEPT = (NEW_SUBFILE_TYPE, EXTRA_SAMPLES, _MIN_SAMPLE, _MAX_SAMPLE)
# What libvips' wheel does not read.
_BITS, _SAMPLE_FORMAT, _FLOAT, _LAB = 258, 339, 3, (8, 9, 10)
_INTEGER_BITS, _FLOAT_BITS = (1, 2, 4, 8, 16, 32), (16, 32)
_UNREAD = {
    6: "old-style JPEG", 34661: "JBIG", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA",
    34926: "Zstandard", 34933: "PNG", 34934: "JPEG XR", 50000: "Zstandard",
    50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_SAVERS = {1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 32773: "packbits"}


@dataclass(frozen=True)
class Tags:
    """Tags of a TIFF page, to be put back into a TIFF file.

    Attributes:
        ifd: Tags that belong to the picture.
        saver: libvips' name of the compression.
        kept: Tags of the structure that stay as they were: page type, meaning of extra samples,
            range of floats.
    """

    ifd: Ifd
    saver: str = "deflate"
    kept: dict[int, TagValue] = field(default_factory=dict)

    @property
    def premultiplied(self) -> bool:
        """Whether colours are stored multiplied by transparency."""
        return is_premultiplied(Ifd(self.kept))


def extract(ifd: Ifd) -> Metadata:
    """Return the metadata in the directory of a TIFF page."""
    orientation = ifd.first(ORIENTATION, 1)
    foreign = DNG_TAGS if DNG_VERSION in ifd.values else ()
    values = {t: v for t, v in ifd.values.items() if t not in STRUCTURE and t not in foreign}
    carried = Ifd(values, ifd.children)
    kept = {t: ifd.values[t] for t in _KEPT if t in ifd.values}
    return Metadata(
        orientation=orientation if 1 <= orientation <= 8 else 1,
        exif=build_exif(carried),
        icc=ifd.data(ICC),
        xmp=ifd.data(XMP),
        iptc=ifd.data(IPTC),
        density=_density(ifd),
        raw=(Tags(_readable(carried), _SAVERS.get(ifd.first(COMPRESSION, 1), "deflate"), kept),),
    )


def unreadable(ifd: Ifd) -> str | None:
    """Return why the samples of a page are not read, and what to do; None where they may be."""
    if ifd.first(PHOTOMETRIC) in _LAB:
        return "CIELAB colours; convert it to RGB first (magick in.tif -colorspace sRGB out.tif)"
    bits, floats = ifd.integers(_BITS), ifd.first(_SAMPLE_FORMAT, 1) == _FLOAT
    known = _FLOAT_BITS if floats else _INTEGER_BITS
    if wrong := [n for n in bits if n not in known]:
        kind = "float samples" if floats else "samples"
        return f"{wrong[0]}-bit {kind}; save it with {' or '.join(map(str, known[-2:]))} bits"
    name = _UNREAD.get(ifd.first(COMPRESSION, 1))
    return (
        f"compressed as {name}; convert it first (tiffcp -c lzw in.tif out.tif)" if name else None
    )


def is_transparency(ifd: Ifd) -> bool:
    """Return whether a page's first sample beyond its colours is its transparency."""
    return ifd.first(EXTRA_SAMPLES) in (_ASSOCIATED, _UNASSOCIATED)


def is_premultiplied(ifd: Ifd) -> bool:
    """Return whether a page's colours are multiplied by its transparency."""
    return ifd.integers(EXTRA_SAMPLES) == [_ASSOCIATED]


def corrections(ifd: Ifd) -> dict[int, int]:
    """Return the values that tags of a page must have for libvips to read it as it is.

    libvips would divide colours that are multiplied by transparency, cutting off fractions, and
    refuses orientations that there are not.
    """
    found = {EXTRA_SAMPLES: _UNASSOCIATED} if is_premultiplied(ifd) else {}
    turned = ifd.values.get(ORIENTATION)
    if turned is not None and turned.kind == _SHORT and not 1 <= turned.first() <= 8:
        found[ORIENTATION] = 1
    return found


@contextmanager
def corrected(path: Path, ifd: Ifd, values: dict[int, int]) -> Iterator[Path]:
    """Give a copy of a TIFF file with other values of a page's tags; itself where there are none.

    Args:
        path: Of the file.
        ifd: Directory of the page.
        values: By tag, each of one 16-bit number.
    """
    if not values:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="unveil-") as folder:
        copied = Path(folder) / "copy.tif"
        shutil.copyfile(path, copied)
        with copied.open("r+b") as file:
            structure = TiffStructure(file)
            for tag, value in values.items():
                file.seek(structure.entry(ifd.at, tag) + structure.layout.cell)
                file.write(structure.layout.pack("H", value))
        yield copied


def white(ifd: Ifd) -> float:
    """Return the sample value that stands for white in a page of floats: 1, unless tags say more.

    Where SMinSampleValue is not 0, the range may be that of the samples found, which is no scale.
    """
    least, most = ifd.number(_MIN_SAMPLE), ifd.number(_MAX_SAMPLE, 1.0)
    return most if least == 0 and most in (255.0, 1023.0, 4095.0, 16383.0, 65535.0) else 1.0


def embed(path: Path, metadata: Metadata, verbatim: bool, *, plain: bool = False) -> None:
    """Give the TIFF file at `path` the metadata, in place.

    Args:
        path: What the encoder wrote: one page.
        metadata: To be put in.
        verbatim: Put back the tags of the TIFF file that `metadata` came from.
        plain: Of these, put back only what other formats hold, too.
    """
    tags: Tags = metadata.raw[0] if verbatim else Tags(tiff_directory(metadata))
    if plain:
        tags = replace(tags, ifd=tiff_directory(metadata))
    with path.open("r+b") as file:
        structure = TiffStructure(file)
        written = structure.directory(structure.first)
        values = {tag: value for tag, value in written.values.items() if tag in STRUCTURE}
        if verbatim and EXTRA_SAMPLES in values:
            count = values[EXTRA_SAMPLES].count
            values[EXTRA_SAMPLES] = TagValue(3, count, bytes(2 * count))
        kept = {t: v for t, v in tags.kept.items() if t != EXTRA_SAMPLES or t in values}
        whole = {**tags.ifd.values, **values, **kept}
        structure.append(Ifd(whole, tags.ifd.children))


def append_page(path: Path, other: Path) -> None:
    """Append the page of the TIFF file `other` to the TIFF file at `path`.

    Args:
        path: With one page or more.
        other: With one page, of the same byte order and width of offsets.
    """
    with path.open("r+b") as file, other.open("rb") as source:
        written, added = TiffStructure(file), TiffStructure(source)
        last, big = written.first, written.layout.big
        while after := written.next_directory(last):
            last = after
        page = added.directory(added.first)
        end = file.seek(0, 2)
        end += file.write(bytes(end % 2))
        source.seek(0)
        shutil.copyfileobj(source, file, 2**20)
        for tag in _OFFSETS:
            if tag in page.values:
                moved = [end + at for at in page.values[tag].integers()]
                code = "Q" if big else "I"
                data = struct.pack(f"<{len(moved)}{code}", *moved)
                page.values[tag] = TagValue(16 if big else 4, len(moved), data)
        written.append(page, last)


def _readable(ifd: Ifd) -> Ifd:
    """Leave out what libtiff refuses a file for."""
    values = dict(ifd.values)
    if ifd.first(_UNIT, 1) not in (1, 2, 3):
        values[_UNIT] = TagValue(_SHORT, 1, struct.pack("<H", 1))
    if not 1 <= ifd.first(ORIENTATION, 1) <= 8:
        del values[ORIENTATION]
    return Ifd(values, ifd.children)


def _density(ifd: Ifd) -> tuple[float, float] | None:
    unit = ifd.first(_UNIT, 2)
    if 282 not in ifd.values or 283 not in ifd.values or unit not in (2, 3):
        return None
    found = []
    for tag in (282, 283):
        if len(ifd.values[tag].data) != 8:
            return None
        above, below = struct.unpack("<II", ifd.values[tag].data)
        found.append(above / max(below, 1) / (25.4 if unit == 2 else 10))
    return plausible_density(*found)
