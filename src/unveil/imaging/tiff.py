"""Metadata of TIFF files: every tag that does not say how the samples are stored.

libvips writes no EXIF into TIFF, so the directory it wrote is replaced by one that has it.
"""

import struct
from pathlib import Path

from unveil.imaging.exif import STRUCTURE, build_exif, tiff_directory
from unveil.imaging.ifd import (
    ICC,
    IPTC,
    ORIENTATION,
    XMP,
    Ifd,
    read_header,
    read_ifd,
    write_ifd,
)
from unveil.imaging.image import Metadata, plausible_density

COMPRESSION = 259
_SAVERS = {1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 32773: "packbits"}


def extract(path: Path) -> Metadata:
    """Return the metadata of a TIFF file; empty when its directory cannot be read."""
    try:
        with path.open("rb") as file:
            layout, offset = read_header(file)
            ifd = read_ifd(file, layout, offset)
    except (ValueError, struct.error, OverflowError):
        return Metadata()
    orientation = ifd.values[ORIENTATION].first() if ORIENTATION in ifd.values else 1
    kept = Ifd({t: v for t, v in ifd.values.items() if t not in STRUCTURE}, ifd.children)
    compression = ifd.values[COMPRESSION].first() if COMPRESSION in ifd.values else 1
    return Metadata(
        orientation=orientation if 1 <= orientation <= 8 else 1,
        exif=build_exif(kept),
        icc=_data(ifd, ICC),
        xmp=_data(ifd, XMP),
        iptc=_data(ifd, IPTC),
        density=_density(ifd),
        raw=(kept, _SAVERS.get(compression, "deflate")),
    )


def embed(path: Path, metadata: Metadata, verbatim: bool) -> None:
    """Give the TIFF file at `path` the metadata, in place.

    Args:
        path: What the encoder wrote: one page.
        metadata: To be put in.
        verbatim: Put back the tags of the TIFF file that `metadata` came from.
    """
    carried = metadata.raw[0] if verbatim else tiff_directory(metadata)
    with path.open("r+b") as file:
        layout, offset = read_header(file)
        written = read_ifd(file, layout, offset)
        values = {tag: value for tag, value in written.values.items() if tag in STRUCTURE}
        end = file.seek(0, 2)
        end += file.write(bytes(end % 2))
        file.write(write_ifd(Ifd({**carried.values, **values}, carried.children), layout, end))
        file.seek(8 if layout.big else 4)
        file.write(layout.pointer(end))


def _data(ifd: Ifd, tag: int) -> bytes | None:
    return ifd.values[tag].data if tag in ifd.values else None


def _density(ifd: Ifd) -> tuple[float, float] | None:
    unit = ifd.values[296].first() if 296 in ifd.values else 2
    if 282 not in ifd.values or 283 not in ifd.values or unit not in (2, 3):
        return None
    found = []
    for tag in (282, 283):
        if len(ifd.values[tag].data) != 8:
            return None
        above, below = struct.unpack("<II", ifd.values[tag].data)
        found.append(above / max(below, 1) / (25.4 if unit == 2 else 10))
    return plausible_density(*found)
