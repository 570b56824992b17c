"""PPM, PGM and PBM files, through netpbmfile.

Source: the specifications of ppm, pgm and pbm (netpbm.sourceforge.net).
"""

from pathlib import Path
from typing import Any

import numpy as np

from unveil.errors import ImageFileError, InputError, MissingExtraError
from unveil.imaging._vips import reason
from unveil.imaging.convert import full_scale, rescaled
from unveil.imaging.formats import PPM, check_size
from unveil.imaging.image import Array, Image, Metadata

_KINDS = {"P1": 1, "P2": 1, "P3": 3, "P4": 1, "P5": 1, "P6": 3}
# Numbers in decimal digits are held as Python objects for a while.
_MOST_TEXT = 64 * 2**20


def _library() -> Any:
    try:
        import netpbmfile  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingExtraError("reading and writing PPM and PGM files", "pnm") from error
    return netpbmfile


def read_netpbm(path: Path, max_megapixels: float) -> Image:
    """Read a PPM, PGM or PBM file; see `unveil.imaging.read_image`.

    Samples are spread over the whole range of their type; the file's own maximum is kept for
    writing.

    Args:
        path: Of the file.
        max_megapixels: The most that is read, in millions of pixels.

    Raises:
        ImageFileError: If it is damaged, too large, or holds several images.
        MissingExtraError: Without the extra `pnm`.
    """
    library = _library()
    try:
        with path.open("rb") as opened:
            file = library.NetpbmFile(opened)
            check_size(path, file.width, file.height, max_megapixels)
            _check(path, file)
            samples = np.asarray(file.asarray())
            # As many as the header says: what follows may have been taken for another image.
            pixels = samples.reshape(file.height, file.width, _KINDS[file.magicnumber])
    except (ValueError, OverflowError, MemoryError, OSError, ZeroDivisionError) as error:
        if isinstance(error, ImageFileError):
            raise
        raise ImageFileError(f"{path}: damaged or unsupported ppm: {reason(error)}") from error
    if pixels.max(initial=0) > file.maxval:
        raise ImageFileError(f"{path}: damaged: samples above its maximum of {file.maxval}")
    if pixels.dtype == bool:
        # A bitmap's 1 is black; what is made of it is no bitmap.
        return Image(np.where(pixels, 0, 255).astype(np.uint8), format=PPM)
    bits, raw = int(file.maxval).bit_length(), (int(file.maxval),)
    return Image(_spread(pixels, file.maxval), format=PPM, bits=bits, metadata=Metadata(raw=raw))


def _check(path: Path, file: Any) -> None:
    if file.magicnumber not in _KINDS:
        raise ImageFileError(f"{path}: {file.magicnumber}; of Netpbm's kinds, P1 to P6 are read")
    if file.frames > 1:
        raise ImageFileError(f"{path}: several images; split them first (pamsplit)")
    if not 1 <= file.maxval <= 65535 or not file.width or not file.height:
        raise ImageFileError(f"{path}: damaged: a header that makes no sense")
    size = path.stat().st_size
    bytes_each = 2 if file.maxval > 255 else 1
    number = file.width * file.height * _KINDS[file.magicnumber]
    least = {"P4": -(-file.width // 8) * file.height}.get(file.magicnumber, number * bytes_each)
    if file.magicnumber in ("P1", "P2", "P3"):
        least = number
        if size > _MOST_TEXT:
            raise ImageFileError(f"{path}: too much text; convert it (pnmtopnm < in > out)")
    if size < least:
        raise ImageFileError(f"{path}: damaged or truncated: {size:,} bytes are too few")


def _spread(pixels: Array, most: int) -> Array:
    """Return samples of 0 to `most` as uint8 or uint16 of the type's whole range."""
    dtype = np.uint8 if most <= 255 else np.uint16
    top = full_scale(dtype)
    if most == top:
        return np.ascontiguousarray(pixels.astype(dtype))
    table = rescaled(np.arange(most + 1), most, int(top)).astype(dtype)
    return table[pixels.astype(np.intp)]


def write_netpbm(path: Path, named: Path, image: Image) -> None:
    """Write a PPM or PGM file; see `unveil.imaging.write_image`.

    Args:
        path: Where it is written.
        named: Its name, whose suffix says gray or colour.
        image: Of uint8 or uint16 samples.

    Raises:
        InputError: If a PGM file is to hold colours.
        MissingExtraError: Without the extra `pnm`.
    """
    library = _library()
    pixels = image.pixels
    if pixels.shape[2] == 3 and named.suffix.lower() == ".pgm":
        raise InputError(f"{named.name}: pgm holds gray; choose .ppm")
    if pixels.shape[2] == 1 and named.suffix.lower() == ".ppm":
        pixels = pixels.repeat(3, axis=2)
    top = full_scale(pixels.dtype)
    most = int(top)
    if image.format is PPM and image.metadata.raw:
        most = image.metadata.raw[0]
    if most != top and (most > 255) == (top > 255):
        pixels = rescaled(pixels, int(top), most).astype(pixels.dtype)
    else:
        most = int(top)
    kind = "P6" if pixels.shape[2] == 3 else "P5"
    data = pixels if kind == "P6" else pixels[..., 0]
    library.imwrite(path, np.ascontiguousarray(data), magicnumber=kind, maxval=most)
