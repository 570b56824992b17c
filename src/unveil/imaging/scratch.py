"""Arrays for pixels: in memory while small, in a temporary file when they are not."""

import errno
import io
import mmap
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from unveil.errors import OutputError
from unveil.imaging.image import Array, Image, as_stored, upright

# Above this a picture's samples wait on disk; 128 MiB is 44 megapixels of 8-bit colour.
IN_MEMORY_BYTES = 128 * 2**20
# The disk, or what we may have of it.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def allocate(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return a zeroed array of `shape`, backed by an unlinked temporary file when it is large.

    The file lies in `tempfile.gettempdir()` and vanishes with the array, also when we are killed.

    Args:
        shape: Of the array.
        dtype: Of its samples.

    Raises:
        OutputError: If the folder for temporary files has no room.

    >>> allocate((2, 2), "uint8").tolist()
    [[0, 0], [0, 0]]
    """
    size = _size(shape, dtype)
    if size <= IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    with temporary_file(size) as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def temporary_file(size: int) -> IO[bytes]:
    """Open a new temporary file of `size` bytes; it vanishes when it is closed.

    Args:
        size: In bytes; the room on the disk is taken at once.

    Raises:
        OutputError: If the folder for temporary files has no room.
    """
    file = tempfile.TemporaryFile(prefix="unveil-")  # noqa: SIM115
    try:
        _reserve(file, size, tempfile.gettempdir())
    except BaseException:
        file.close()
        raise
    return file


def create(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, *, spare: int = 0) -> Array:
    """Return a zeroed array of `shape`, backed by the new ``.npy`` file `path`.

    Args:
        path: Of the file.
        shape: Of the array.
        dtype: Of its samples.
        spare: Bytes of the disk that must be left.

    Raises:
        OutputError: If the disk has no room; then there is no file.
    """
    header = io.BytesIO()
    described = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(
        header, {"descr": described, "fortran_order": False, "shape": shape}
    )
    try:
        with path.open("wb") as file:
            _reserve(file, header.tell() + _size(shape, dtype), path.parent, spare)
            file.write(header.getvalue())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return cast("Array", np.load(path, mmap_mode="r+"))


def is_disk_full(error: BaseException) -> bool:
    """Return whether an exception says that a disk is full.

    >>> is_disk_full(OSError(errno.ENOSPC, "no room"))
    True
    """
    # Libraries that write files pass on the words alone.
    return isinstance(error, OSError) and any(
        code == error.errno or os.strerror(code) in str(error) for code in _FULL
    )


def _size(shape: tuple[int, ...], dtype: npt.DTypeLike) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _reserve(file: IO[bytes], size: int, folder: str | Path, spare: int = 0) -> None:
    """Make `file` `size` bytes long, and take the room for all of them on the disk.

    Where a mapped file has holes, writing to one on a full disk kills the process.

    Raises:
        OutputError: If there is no room.
    """
    try:
        if shutil.disk_usage(folder).free < size + spare:
            raise OSError(errno.ENOSPC, "too little is free")
        _take(file, size)
    except OSError as error:
        if not is_disk_full(error):
            raise
        full = OutputError(
            f"{folder}: a picture of {size / 2**20:.0f} MiB needs room there for temporary files; "
            "free some or set TMPDIR to another folder"
        )
        full.errno = errno.ENOSPC
        raise full from error


def _take(file: IO[bytes], size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if is_disk_full(error):
                raise
        else:
            return
    # Neither every system nor every file system can; the room that is free has been looked at.
    file.truncate(size)


def allocate_like(image: Image) -> Array:
    """Return zeros for pixels like `image`'s: upright, laid out as its file stores them."""
    orientation = image.metadata.orientation
    return upright(
        allocate(as_stored(image.pixels, orientation).shape, image.pixels.dtype), orientation
    )


def release(array: Array) -> None:
    """Let go of the memory that holds pages of a file-backed `array`; its values stay.

    Without this the pages of every strip that was ever touched count as ours. Arrays whose values
    are in no file are left alone, among them those that copy on write.
    """
    base: Any = array
    while base is not None and not isinstance(base, np.memmap):
        base = getattr(base, "base", None)
    while base is not None and not isinstance(base, mmap.mmap):
        if getattr(base, "mode", None) == "c":
            return
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
