"""Arrays for pixels: in memory while small, in a temporary file when they are not."""

import mmap
import shutil
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from unveil.errors import OutputError
from unveil.imaging.image import Array, Image, as_stored, upright

# Above this a picture's samples wait on disk; 128 MiB is 44 megapixels of 8-bit colour.
IN_MEMORY_BYTES = 128 * 2**20


def allocate(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return a zeroed array of `shape`, backed by an unlinked temporary file when it is large.

    The file lies in `tempfile.gettempdir()` and vanishes with the array, also when we are killed.

    Raises:
        OutputError: If the folder for temporary files has no room.

    >>> allocate((2, 2), "uint8").tolist()
    [[0, 0], [0, 0]]
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    folder = tempfile.gettempdir()
    if shutil.disk_usage(folder).free < size:
        raise OutputError(
            f"{folder}: a picture of {size / 2**20:.0f} MiB needs room there for temporary files; "
            "free some or set TMPDIR to another folder"
        )
    with tempfile.TemporaryFile(prefix="unveil-") as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def allocate_like(image: Image) -> Array:
    """Return zeros for pixels like `image`'s: upright, laid out as its file stores them."""
    orientation = image.metadata.orientation
    return upright(
        allocate(as_stored(image.pixels, orientation).shape, image.pixels.dtype), orientation
    )


def release(array: Array) -> None:
    """Let go of the memory that holds pages of a file-backed `array`; its values stay.

    Without this the pages of every strip that was ever touched count as ours.
    """
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
