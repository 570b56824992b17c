"""JPEG XL files: samples through imagecodecs, metadata in boxes of their own.

imagecodecs reads and writes no colour profile: where a file has one, that is said.
Source: ISO/IEC 18181-1 (headers), 18181-2 (boxes).
"""

import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unveil.errors import ImageFileError, MissingExtraError, OutputError
from unveil.imaging._vips import reason
from unveil.imaging.convert import to_integers, to_unit
from unveil.imaging.exif import turned_upright
from unveil.imaging.formats import JXL, check_size
from unveil.imaging.header_limits import check_memory
from unveil.imaging.heif_items import box, boxes
from unveil.imaging.image import Array, Image, Metadata, colours_and_alpha

SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
_FTYP = b"\0\0\0\x14ftypjxl \0\0\0\0jxl "
_BARE = b"\xff\x0a"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_EFFORT = 5
_HEADERS = 4096
# Boxes of metadata may be compressed by Brotli, as cjxl writes them.
_COMPRESSED = b"brob"
_MOST_METADATA = 16 * 2**20
# Transfer functions, and how their numbers are stored.
_LINEAR, _SRGB = 8, 13
_TRANSFER_BITS, _TRANSFER_OFFSET = 4, 2
_PROFILE = "its colour profile, which cannot be read: colours will look different"


@dataclass(frozen=True)
class Header:
    """What a codestream states about its image.

    Attributes:
        width: Before it is turned upright.
        height: Likewise.
        bits: Per sample.
        animated: Whether it holds several frames.
        is_srgb: Whether its colours are those of sRGB; None where that is unknown.
        transfer_at: Bit of the codestream at which the 4 bits of the transfer function are.
    """

    width: int
    height: int
    bits: int = 8
    animated: bool = False
    is_srgb: bool | None = True
    transfer_at: int | None = None


def _library() -> Any:
    try:
        import imagecodecs  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingExtraError("reading and writing JPEG XL files", "jxl") from error
    return imagecodecs


def read_jxl(path: Path, max_megapixels: float) -> Image:
    """Read a JPEG XL file; see `unveil.imaging.read_image`.

    Args:
        path: Of the file.
        max_megapixels: The most that is read, in millions of pixels.

    Raises:
        ImageFileError: If it is damaged, too large or an animation.
        MissingExtraError: Without the extra `jxl`.
    """
    library = _library()
    data = path.read_bytes()
    try:
        header = read_header(_codestream(data))
        check_size(path, header.width, header.height, max_megapixels)
        held = 12.0 if header.bits <= 8 else 24.0
        check_memory(
            path, header.width, header.height, held, max_megapixels, "a JPEG XL of this size"
        )
        if header.animated:
            raise ImageFileError(
                f"{path}: an animation; unveil restores single images, extract them first"
            )
        metadata = _metadata(library, data)
        samples = np.asarray(library.jpegxl_decode(data, numthreads=1))
    except (ValueError, RuntimeError, MemoryError, IndexError, struct.error) as error:
        if isinstance(error, ImageFileError):
            raise
        raise ImageFileError(f"{path}: damaged or unsupported jxl: {reason(error)}") from error
    samples = samples[..., None] if samples.ndim == 2 else samples
    if samples.ndim != 3 or samples.shape[2] > 4 or samples.dtype.name not in JXL.depths:
        raise ImageFileError(
            f"{path}: {samples.shape} samples of {samples.dtype}; expected gray or RGB of 8 or 16 "
            "bits or 32-bit float"
        )
    pixels, alpha = colours_and_alpha(samples)
    return Image(
        pixels=pixels,
        alpha=alpha,
        format=JXL,
        bits=8 * samples.dtype.itemsize if samples.dtype.kind == "f" else header.bits,
        metadata=replace(metadata, raw=_raw(header)),
        left_out=() if header.is_srgb else (_PROFILE,),
    )


def write_jxl(path: Path, image: Image, quality: int | None) -> None:
    """Write a JPEG XL file, without loss unless a quality is given.

    Args:
        path: Where it is written.
        image: Of uint8, uint16 or float32 samples.
        quality: 1 to 100; None is without loss.

    Raises:
        OutputError: If it cannot be written.
        MissingExtraError: Without the extra `jxl`.
    """
    library = _library()
    samples = image.pixels
    if image.alpha is not None:
        samples = np.concatenate([samples, image.alpha[..., None]], axis=2)
    options = {"lossless": True} if quality is None else {"level": quality}
    linear = image.format is JXL and image.metadata.raw == (_LINEAR,)
    if quality is not None and samples.dtype != np.uint8 and not linear:
        # Colours of lossy files are absolute: what is taken for linear must be linear.
        samples = _linear(samples, image.pixels.shape[2])
    try:
        encoded = bytes(
            library.jpegxl_encode(
                np.ascontiguousarray(samples), effort=_EFFORT, numthreads=1, **options
            )
        )
        encoded = encoded if linear else _marked_srgb(encoded)
    except (ValueError, RuntimeError) as error:
        raise OutputError(f"{path}: cannot be written: {reason(error)}") from error
    path.write_bytes(_with_boxes(encoded, image.metadata))


def _linear(samples: Array, colours: int) -> Array:
    """Return samples whose first `colours` channels are light, where those of sRGB were."""
    scaled = to_unit(samples[..., :colours])
    light = np.where(scaled <= 0.04045, scaled / 12.92, ((np.abs(scaled) + 0.055) / 1.055) ** 2.4)
    out = samples.copy()
    out[..., :colours] = to_integers(light, samples.dtype) if samples.dtype.kind == "u" else light
    return out


def _with_boxes(encoded: bytes, metadata: Metadata) -> bytes:
    if not metadata.exif and not metadata.xmp:
        return encoded
    if encoded.startswith(_BARE):
        encoded = SIGNATURE + _FTYP + box(b"jxlc", encoded)
    exif = box(b"Exif", bytes(4) + metadata.exif) if metadata.exif else b""
    return encoded + exif + (box(b"xml ", metadata.xmp) if metadata.xmp else b"")


def _raw(header: Header) -> tuple[int, ...]:
    return (_LINEAR,) if header.is_srgb is False and header.transfer_at is not None else ()


def _metadata(library: Any, data: bytes) -> Metadata:
    if data.startswith(_BARE):
        return Metadata()
    found = {}
    for kind, start, end in boxes(data, 0, len(data)):
        content = data[start:end]
        if kind == _COMPRESSED:
            kind, content = content[:4], _unpacked(library, content[4:])  # noqa: PLW2901
        found[kind] = content
    exif = found.get(b"Exif", b"")
    block = exif[4 + int.from_bytes(exif[:4], "big") :] if len(exif) > 4 else None
    # The decoder has turned the pixels upright.
    return turned_upright(
        Metadata(exif=block or None, xmp=found.get(b"xml ") or None, orientation=2)
    )


def _unpacked(library: Any, content: bytes) -> bytes:
    """Return what a compressed box holds; nothing where that is damaged or very large."""
    try:
        return bytes(library.brotli_decode(content, out=_MOST_METADATA))
    except (RuntimeError, ValueError):
        return b""


def _codestream(data: bytes) -> bytes:
    """Return the beginning of the codestream, where its headers are.

    Raises:
        ValueError: If there is none.
    """
    if data.startswith(_BARE):
        return data[:_HEADERS]
    for kind, start, _ in boxes(data, 0, len(data)):
        if kind in (b"jxlc", b"jxlp"):
            skipped = 4 if kind == b"jxlp" else 0
            return data[start + skipped : start + skipped + _HEADERS]
    raise ValueError("no codestream")


class _Bits:
    """Reads numbers, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left, self.at = int.from_bytes(data, "little"), 8 * len(data), 0

    def u(self, count: int) -> int:
        if count > self._left:
            raise ValueError("a header that does not end")
        number = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        self.at += count
        return number

    def u32(self, *choices: tuple[int, int]) -> int:
        """Read a choice of two bits, then as many bits as it says, and add its offset."""
        bits, offset = choices[self.u(2)]
        return self.u(bits) + offset

    def enum(self) -> int:
        return self.u32((0, 0), (0, 1), (4, 2), (6, 18))

    def size(self) -> tuple[int, int]:
        """Read a SizeHeader: width and height."""
        small = self.u(1)

        def side() -> int:
            if small:
                return 8 * (self.u(5) + 1)
            return self.u32((9, 1), (13, 1), (18, 1), (30, 1))

        height = side()
        ratio = self.u(3)
        if not ratio:
            return side(), height
        across, down = _RATIOS[ratio]
        return height * across // down, height


def read_header(codestream: bytes) -> Header:
    """Read the header of a codestream.

    Raises:
        ValueError: If it is none.
    """
    if not codestream.startswith(_BARE):
        raise ValueError("no codestream")
    bits = _Bits(codestream[2:])
    width, height = bits.size()
    if bits.u(1):  # all as usual
        return Header(width, height)
    animated = False
    if bits.u(1):
        bits.u(3)
        if bits.u(1):
            bits.size()
        if bits.u(1):
            return Header(width, height, 8, False, None)  # a preview of its own
        if bits.u(1):
            return Header(width, height, 8, True, None)
    depth = _depth(bits)
    bits.u(1)
    for _ in range(bits.u32((0, 0), (0, 1), (4, 2), (12, 1))):
        if not bits.u(1):  # more than an alpha channel of 8 bits
            kind = bits.enum()
            _depth(bits)
            bits.u32((0, 0), (0, 3), (0, 4), (3, 1))
            length = bits.u32((0, 0), (4, 0), (5, 16), (10, 48))
            if length or kind:
                return Header(width, height, depth, animated, None)
            bits.u(1)
    bits.u(1)
    return Header(width, height, depth, animated, *_colours(bits))


def _depth(bits: _Bits) -> int:
    """Read a BitDepth."""
    if bits.u(1):
        depth = bits.u32((0, 32), (0, 16), (0, 24), (6, 1))
        bits.u(4)
        return depth
    return bits.u32((0, 8), (0, 10), (0, 12), (6, 1))


def _colours(bits: _Bits) -> tuple[bool, int | None]:
    """Read a ColourEncoding: whether it is sRGB's, in colour or gray; where its transfer lies."""
    if bits.u(1):
        return True, None
    if bits.u(1):  # a profile
        return False, None
    gray = bits.enum() == 1
    if bits.enum() != 1:  # of D65
        return False, None
    if not gray and bits.enum() != 1:
        return False, None
    if bits.u(1):  # a power
        return False, None
    transfer = bits.enum()
    at = 8 * len(_BARE) + bits.at - _TRANSFER_BITS
    return transfer == _SRGB, at if transfer in (_SRGB, _LINEAR) else None


def _marked_srgb(encoded: bytes) -> bytes:
    """Return a file whose samples are marked as sRGB; imagecodecs marks deep ones as linear.

    Raises:
        ValueError: If its headers are not those that libjxl writes.
    """
    start = encoded.find(_BARE) if encoded.startswith(SIGNATURE) else 0
    at = read_header(encoded[start : start + _HEADERS]).transfer_at
    if at is None:
        return encoded
    head = int.from_bytes(encoded[start : start + _HEADERS], "little")
    mask = ((1 << _TRANSFER_BITS) - 1) << at
    head = head & ~mask | (_SRGB - _TRANSFER_OFFSET) << at
    length = min(_HEADERS, len(encoded) - start)
    return encoded[:start] + head.to_bytes(length, "little") + encoded[start + length :]
