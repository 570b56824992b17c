"""What the directories of a TIFF file are: pictures, reduced copies, masks, or a camera's raw data.

Source: TIFF 6.0 (tags NewSubfileType, SubfileType), TIFF Technical Note 1 (SubIFDs), DNG 1.7.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from unveil.imaging.ifd import Ifd
from unveil.imaging.tiff_structure import TiffStructure

NEW_SUBFILE_TYPE, SUBFILE_TYPE = 254, 255
WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC = 256, 257, 259, 262
DNG_VERSION = 50706
# Tags that only a DNG file may have: a result that kept them would be taken for one.
DNG_TAGS = range(DNG_VERSION, 52600)
_REDUCED, _MASK = 1, 4
# Photometric interpretations and compressions that only raw photographs have.
_MOSAIC, _LINEAR_RAW = 32803, 34892
_RAW_COMPRESSIONS = frozenset({32767, 32769, 32770, 34713, 65535})


@dataclass(frozen=True)
class Page:
    """A directory that holds an image of its own.

    Attributes:
        ifd: Its tags.
        number: Of the page in the file, from 0.
        sub: Of the directory among the page's SubIFDs; None for the page itself.
    """

    ifd: Ifd
    number: int = 0
    sub: int | None = None


@dataclass(frozen=True)
class Structure:
    """The directories of a file.

    Attributes:
        pages: Those that hold images, at least one.
        reduced: How many others hold reduced copies.
        others: How many others hold masks and the like.
        is_raw: Whether they hold what a camera's sensor saw.
    """

    pages: tuple[Page, ...]
    reduced: int = 0
    others: int = 0
    is_raw: bool = False


def structure_of(path: Path) -> Structure:
    """Sort the directories of the TIFF file at `path` by the types that they give.

    A directory without type is an image. A reduced copy stands for its page's image where that is
    the first SubIFD of full size. A file of reduced copies alone holds the first of them.

    Raises:
        ValueError: If the directories cannot be read.
    """
    with path.open("rb") as file:
        try:
            pages_found = TiffStructure(file).pages()
        except (struct.error, OverflowError) as error:
            raise ValueError("not a TIFF structure") from error
    pages, rest = [], []
    for number, (ifd, *subs) in enumerate(pages_found):
        below = [Page(sub, number, i) for i, sub in enumerate(subs)]
        here = Page(ifd, number)
        full = [page for page in below if _type(page.ifd) == 0] if _type(ifd) else [here]
        pages += full[:1]
        rest += [page for page in (here, *below) if page not in full[:1]]
    if not pages:
        pages, rest = [rest[0]], rest[1:]
    reduced = sum(_type(page.ifd) == _REDUCED for page in rest)
    raw = any(_is_raw(page.ifd) for page in (*pages, *rest))
    return Structure(tuple(pages), reduced, len(rest) - reduced, raw)


def _type(ifd: Ifd) -> int:
    """Return 0 for an image, 1 for a reduced copy, another number for anything else."""
    if NEW_SUBFILE_TYPE in ifd.values:
        flags = ifd.first(NEW_SUBFILE_TYPE)
        return flags & ~2 if flags & ~3 else flags & _REDUCED
    return _REDUCED if ifd.first(SUBFILE_TYPE, 1) == 2 else 0


def _is_raw(ifd: Ifd) -> bool:
    if ifd.first(PHOTOMETRIC) in (_MOSAIC, _LINEAR_RAW):
        return True
    return ifd.first(COMPRESSION) in _RAW_COMPRESSIONS
