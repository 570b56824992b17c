"""Pictures a browser can show: 8 bits, JPEG, full size, with the photo's colour profile."""

from pathlib import Path

import numpy as np

from unveil.imaging import Image, Metadata, write_image
from unveil.imaging.convert import from_levels, normalised, to_uint8
from unveil.imaging.formats import JPEG
from unveil.imaging.image import Array
from unveil.imaging.scratch import release

# Noise has to be seen as it is: high quality, colours at full resolution.
_QUALITY = 93
# What the format can count to.
_LONGEST_SIDE = 65_500
_STRIP_ROWS = 512


def to_preview(pixels: Array, white: float = 1.0) -> Array:
    """Return samples of any depth as ``(h, w, 3)`` uint8, gray repeated.

    Args:
        pixels: ``(h, w, 1)`` or ``(h, w, 3)`` uint8, uint16 or float.
        white: Of floats, the value that stands for white.

    >>> to_preview(np.full((1, 1, 1), 65535, np.uint16)).tolist()
    [[[255, 255, 255]]]
    """
    height, width, _ = pixels.shape
    out = np.empty((height, width, 3), np.uint8)
    # By strips: float pictures would otherwise pass through copies of four times the size.
    for top in range(0, height, _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        out[rows] = to_uint8(normalised(pixels[rows], white))
        release(pixels)
    return out


def write_preview(target: Path, image: Image) -> Path:
    """Write the JPEG `target` that browsers show: an image at full size, with its colour profile.

    Args:
        target: Its path.
        image: Longer sides than JPEG can count are thinned out.

    Returns:
        `target`.

    Raises:
        OutputError: If it cannot be written.
    """
    pixels = to_preview(image.pixels, image.white)
    step = -(-max(pixels.shape[:2]) // _LONGEST_SIDE)
    picture = Image(
        pixels[::step, ::step],
        format=JPEG,
        metadata=Metadata(icc=image.metadata.icc, quality=(_QUALITY, False, False)),
    )
    write_image(target, picture)
    return target


def reduced(pixels: Array, block: int) -> Array:
    """Return a picture reduced by means over blocks; rows and columns left over are dropped.

    Args:
        pixels: ``(h, w, 3)`` uint8.
        block: Side of a block in pixels; at most that of the picture counts.

    >>> reduced(np.full((401, 200, 3), 7, np.uint8), 4).shape
    (100, 50, 3)
    """
    rows, columns = (min(block, length) for length in pixels.shape[:2])
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    cut = pixels[: height * rows, : width * columns]
    means = cut.reshape(height, rows, width, columns, 3).mean((1, 3), dtype=np.float32)
    return to_uint8(from_levels(means))
