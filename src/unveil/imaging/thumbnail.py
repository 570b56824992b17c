"""The thumbnail in an EXIF block: made anew of restored pixels, where the old one lies.

The block keeps its length, so that maker notes, which count bytes from its start, stay whole.
Source: Exif 2.32, section 4.5.5 (the first IFD).
"""

import io
import struct
from dataclasses import replace
from typing import Any

import numpy as np

from unveil.imaging._vips import vips
from unveil.imaging.convert import to_format
from unveil.imaging.formats import JPEG
from unveil.imaging.ifd import TiffLayout
from unveil.imaging.image import Array, Image, as_stored
from unveil.imaging.jpeg import frame_size
from unveil.imaging.scratch import release
from unveil.imaging.tiff_structure import TiffStructure

_OFFSET, _LENGTH = 513, 514
_LARGEST_SIDE = 640
_QUALITIES = (92, 85, 75, 65, 50, 35, 20)
_ROWS = 256
_NAMED = "the thumbnail in its EXIF block"


def with_new_thumbnail(image: Image, pixels: Array) -> Image:
    """Return an image with other pixels, and a thumbnail of them where its EXIF block has one.

    Args:
        image: The image.
        pixels: What was made of its pixels.
    """
    changed = replace(image, pixels=pixels)
    return changed if _equal(image.pixels, pixels) else renewed(changed)


def renewed(image: Image) -> Image:
    """Return an image whose EXIF block has a thumbnail of its pixels, if it has one at all.

    What does not fit where the old thumbnail lies is left out, and listed as such.
    """
    block = image.metadata.exif
    found = None if block is None else _find(block)
    if block is None or found is None:
        return image
    layout, pointer, offset, length, entry = found
    new = _encoded(image, block[offset : offset + length], length)
    made = bytearray(block)
    made[offset : offset + length] = (new or b"").ljust(length, b"\0")
    if new is None:
        made[pointer : pointer + 4] = bytes(4)
        image = replace(image, left_out=(*image.left_out, _NAMED))
    else:
        made[entry + 4 : entry + 12] = layout.pack("I", 1) + layout.pack("I", len(new))
        made[entry + 2 : entry + 4] = layout.pack("H", 4)
    exif = bytes(made)
    raw = tuple(_exchanged(part, block, exif) for part in image.metadata.raw)
    return replace(image, metadata=replace(image.metadata, exif=exif, raw=raw))


def _exchanged(part: Any, old: bytes, new: bytes) -> Any:
    """Return a container's own copy of the block with the new one in its place."""
    if isinstance(part, tuple) and isinstance(part[-1], bytes) and part[-1].endswith(old):
        return (*part[:-1], part[-1][: -len(old)] + new)
    return part


def _find(block: bytes) -> tuple[TiffLayout, int, int, int, int] | None:
    """Return layout, place of the pointer to IFD1, thumbnail's offset and length, length's entry.

    A thumbnail that is no JPEG counts as one of no bytes.
    """
    try:
        structure = TiffStructure(io.BytesIO(block))
        layout = structure.layout
        if layout.big:
            return None
        pointer = structure.next_pointer(structure.first)
        at = structure.next_directory(structure.first)
        if not at:
            return None
        ifd = structure.directory(at)
        if not {_OFFSET, _LENGTH} <= ifd.values.keys():
            return layout, pointer, 0, 0, 0
        entry = structure.entry(at, _LENGTH)
    except (ValueError, struct.error, OverflowError):
        return None
    offset, length = ifd.first(_OFFSET), ifd.first(_LENGTH)
    if offset + length > len(block):
        return layout, pointer, 0, 0, 0
    return layout, pointer, offset, length, entry


def _encoded(image: Image, old: bytes, most: int) -> bytes | None:
    """Return a JPEG of the image, stored as the old one is, in at most `most` bytes."""
    size = frame_size(old)
    if size is None or max(size) > _LARGEST_SIDE:
        return None
    stored = as_stored(image.pixels, image.metadata.orientation)
    height, width, bands = stored.shape
    scale = min(size[0] / width, size[1] / height, 1.0)
    small = _shrunk(stored, max(round(height * scale), 1), max(round(width * scale), 1))
    samples = to_format(small, JPEG)
    picture = (
        vips()
        .Image.new_from_memory(
            samples.tobytes(), samples.shape[1], samples.shape[0], bands, "uchar"
        )
        .copy(interpretation="srgb" if bands == 3 else "b-w")
    )
    for quality in _QUALITIES:
        data: bytes = picture.jpegsave_buffer(Q=quality, keep="none", optimize_coding=True)
        if len(data) <= most:
            return data
    return None


def _shrunk(stored: Array, height: int, width: int) -> Array:
    """Average ``(h, w, c)`` samples over the areas of ``(height, width, c)``."""
    rows = np.linspace(0, stored.shape[0], height + 1).astype(int)
    columns = np.linspace(0, stored.shape[1], width + 1).astype(int)
    counts = np.diff(columns)[:, None]
    out = np.empty((height, width, stored.shape[2]), np.float32)
    for i in range(height):
        strip = stored[rows[i] : rows[i + 1]].mean(axis=0, dtype=np.float64)
        out[i] = np.add.reduceat(strip, columns[:-1], axis=0) / counts
        release(stored)
    return out if stored.dtype.kind == "f" else np.rint(out).astype(stored.dtype)


def _equal(before: Array, after: Array) -> bool:
    for top in range(0, len(before), _ROWS):
        rows = slice(top, top + _ROWS)
        if not np.array_equal(before[rows], after[rows]):
            return False
        release(before)
        release(after)
    return True
