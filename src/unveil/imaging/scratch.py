"""Arrays for pixels: in memory while small, in a temporary file when they are not."""

import mmap
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

# Above this a picture's samples wait on disk; 128 MiB is 44 megapixels of 8-bit colour.
IN_MEMORY_BYTES = 128 * 2**20


def allocate(
    shape: tuple[int, ...], dtype: npt.DTypeLike, *, in_memory_bytes: int = IN_MEMORY_BYTES
) -> np.ndarray[Any, Any]:
    """Return a zeroed array of `shape`, backed by an unlinked temporary file when it is large.

    The file lies in `tempfile.gettempdir()` and vanishes with the array, also when we are killed.

    Args:
        shape: Of the array.
        dtype: Of its samples.
        in_memory_bytes: Largest array that is kept in memory.

    >>> type(allocate((4, 4), "uint8")).__name__, type(allocate((4, 4), "uint8", in_memory_bytes=1)).__name__
    ('ndarray', 'memmap')
    """  # noqa: E501
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size <= in_memory_bytes:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(prefix="unveil-") as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def release(array: np.ndarray[Any, Any]) -> None:
    """Let go of the memory that holds pages of a file-backed `array`; its values stay.

    Without this the pages of every strip that was ever touched count as ours.
    """
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
