"""A picture in memory with everything its file carried."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unveil.imaging.formats import PNG, Format

Array = np.ndarray[Any, Any]
Uint8Image = NDArray[np.uint8]

# Names of what a file may hold beside its picture.
GAIN_MAP = "the gain map that makes the photo HDR"
VIDEO = "the video of a motion photo"
CREDENTIALS = "the content credentials, which sign the old pixels"

# Per millimetre: as much as every format can store, and finer than light can tell apart.
_MAX_DENSITY = 100_000.0


def plausible_density(x: float, y: float) -> tuple[float, float] | None:
    """Return pixels per millimetre as `Metadata` has them; None when they make no sense.

    Args:
        x: Horizontal pixels per millimetre.
        y: Vertical pixels per millimetre.

    >>> plausible_density(11.8, 11.8), plausible_density(4e6, 4e6)
    ((11.8, 11.8), None)
    """
    return (x, y) if 0 < x <= _MAX_DENSITY and 0 < y <= _MAX_DENSITY else None


@dataclass(frozen=True)
class Trailer:
    """What follows the picture in its file.

    Attributes:
        data: Its bytes; none where there are too many to keep.
        start: Offset at which it stood.
        index: Offset of the structure that holds offsets into it, where there was one.
        size: How many bytes it has.
    """

    data: bytes
    start: int
    index: int | None
    size: int


@dataclass(frozen=True)
class Metadata:
    """What a file holds beside its pixels. Opaque: it is carried, never interpreted.

    Attributes:
        orientation: EXIF orientation 1–8 of the samples as stored; pixels we hand out are upright.
        exif: TIFF-structured block, without the ``Exif`` mark that precedes it in JPEG.
        icc: Colour profile.
        xmp: XMP packet.
        iptc: IPTC-IIM block.
        density: Pixels per millimetre, horizontal and vertical; None when the file gives none.
        quality: Of a JPEG file: libjpeg's quality, chroma subsampled, progressive.
        lossless: Of a WebP, AVIF or HEIC file: whether it was compressed without loss.
        subsampled: Of an AVIF or HEIC file: whether colour has half the resolution of luminance.
        cicp: Codes of colour primaries and transfer function (ITU-T H.273), where they alone say
            that colours are not those of sRGB.
        trailer: Of a JPEG file: what follows the picture.
        raw: The container's own metadata, verbatim, to be put back into a file of the same format.
    """

    orientation: int = 1
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    density: tuple[float, float] | None = None
    quality: tuple[int, bool, bool] | None = None
    lossless: bool = False
    subsampled: bool = True
    cicp: tuple[int, int] | None = None
    trailer: Trailer | None = None
    raw: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Image:
    """A picture, upright.

    Attributes:
        pixels: ``(h, w, c)`` uint8, uint16 or float32; c is 1 (gray) or 3 (RGB).
        alpha: ``(h, w)`` of the same type, or None.
        format: Kind of the file it came from.
        bits: Significant bits per sample: 8, 10, 12, 16 or 32.
        metadata: Everything else.
        extra: ``(h, w, n)`` of the same type: samples that are neither colour nor transparency,
            such as a scanner's infrared. None where there are none.
        white: Of float samples, the value that stands for white.
        pages: Further images of the file.
        left_out: What the file also holds and no result keeps, in words.
    """

    pixels: Array
    alpha: Array | None = None
    format: Format = PNG
    bits: int = 8
    metadata: Metadata = field(default_factory=Metadata)
    extra: Array | None = None
    white: float = 1.0
    pages: tuple["Image", ...] = ()
    left_out: tuple[str, ...] = ()


# numpy steps that turn samples stored under an EXIF orientation upright: transpose, then flips.
_UPRIGHT = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def upright(stored: Array, orientation: int) -> Array:
    """View `stored`, (h, w, …) samples in file order, as the EXIF `orientation` means it.

    Args:
        stored: ``(h, w, …)`` samples of any type.
        orientation: 1 to 8.

    >>> upright(np.array([[1, 2], [3, 4]]), 6).tolist()
    [[3, 1], [4, 2]]
    """
    transpose, flip_rows, flip_columns = _UPRIGHT[orientation]
    view = stored.swapaxes(0, 1) if transpose else stored
    return view[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def as_stored(pixels: Array, orientation: int) -> Array:
    """Undo `upright`: view upright `pixels` in the order a file with `orientation` stores them.

    Args:
        pixels: ``(h, w, …)`` samples of any type.
        orientation: 1 to 8.

    >>> as_stored(np.array([[3, 1], [4, 2]]), 6).tolist()
    [[1, 2], [3, 4]]
    """
    transpose, flip_rows, flip_columns = _UPRIGHT[orientation]
    view = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return view.swapaxes(0, 1) if transpose else view


def colours_and_alpha(samples: Array) -> tuple[Array, Array | None]:
    """Return the pixels ``(h, w, 1 or 3)`` and the alpha ``(h, w)`` of an image, C-contiguous.

    Args:
        samples: ``(h, w, c)``, c 1 to 4; the last of 2 or 4 is alpha.
    """
    colours = 1 if samples.shape[2] <= 2 else 3
    alpha = np.ascontiguousarray(samples[..., colours]) if samples.shape[2] > colours else None
    return np.ascontiguousarray(samples[..., :colours]), alpha
