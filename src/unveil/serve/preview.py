"""Pictures a browser can show: 8 bits, JPEG, full size, with the photo's colour profile."""

from pathlib import Path

import numpy as np

from unveil.imaging import Image, Metadata, write_image
from unveil.imaging.formats import BMP, JPEG
from unveil.imaging.image import Array, converted

# Noise has to be seen as it is: high quality, colours at full resolution.
_QUALITY = 93
# What the format can count to.
_LONGEST_SIDE = 65_500
_STRIP_ROWS = 512


def to_preview(pixels: Array) -> Array:
    """Return samples of any depth as ``(h, w, 3)`` uint8, gray repeated.

    Args:
        pixels: ``(h, w, 1)`` or ``(h, w, 3)`` uint8, uint16 or float, where 1.0 is white.

    >>> to_preview(np.full((1, 1, 1), 65535, np.uint16)).tolist()
    [[[255, 255, 255]]]
    """
    height, width, _ = pixels.shape
    out = np.empty((height, width, 3), np.uint8)
    # By strips: float pictures would otherwise pass through copies of four times the size.
    for top in range(0, height, _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        out[rows] = converted(pixels[rows], BMP)
    return out


def write_preview(target: Path, pixels: Array, *, icc: bytes | None = None) -> Path:
    """Write ``(h, w, 3)`` uint8 samples as the JPEG `target` that browsers show.

    Args:
        target: Its path.
        pixels: Picture at full size; longer sides than JPEG can count are thinned out.
        icc: Colour profile of the photo, which browsers apply.

    Returns:
        `target`.

    Raises:
        OutputError: If it cannot be written.
    """
    step = -(-max(pixels.shape[:2]) // _LONGEST_SIDE)
    picture = Image(
        pixels[::step, ::step],
        format=JPEG,
        metadata=Metadata(icc=icc, quality=(_QUALITY, False, False)),
    )
    write_image(target, picture)
    return target


def thumbnail(pixels: Array, side: int = 192) -> Array:
    """Return a picture reduced to fit `side` × `side` pixels, by means over blocks.

    >>> thumbnail(np.zeros((400, 200, 3), np.uint8), 100).shape
    (100, 50, 3)
    """
    block = max(1, -(-max(pixels.shape[:2]) // side))
    height, width = (max(1, length // block) for length in pixels.shape[:2])
    rows = min(height * block, pixels.shape[0])
    columns = min(width * block, pixels.shape[1])
    if rows < height * block or columns < width * block:
        return pixels[::block, ::block]
    tiles = pixels[:rows, :columns].reshape(height, block, width, block, 3)
    return np.asarray(tiles.mean((1, 3), dtype=np.float32).round().astype(np.uint8))
