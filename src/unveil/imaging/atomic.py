"""Results on the disk: written under a temporary name first, so that nothing torn is ever seen.

The only place that renames what it wrote; `tests/test_one_place.py` refuses it elsewhere.
"""

import errno
import glob
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unveil.errors import OutputError
from unveil.imaging.scratch import is_disk_full


@contextmanager
def replacing(path: Path, *, former: Path | None = None, durable: bool = False) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success the file there takes `path`'s place.

    Args:
        path: Of the file.
        former: Where the file that is replaced stays, if anywhere.
        durable: Whether file and name are to survive a power cut, which takes time.

    Raises:
        OutputError: If the folder is missing or read-only, or the disk is full; what was there
            before is intact.
    """
    temporary = path.with_name(f".{path.stem[:40]}-{secrets.token_hex(6)}.part")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        yield temporary
        if durable:
            _sync(temporary, os.O_RDWR)
        if former is not None and path.exists():
            path.replace(former)
        temporary.replace(path)
        if durable and os.name == "posix":
            _sync(path.parent, os.O_RDONLY)
    except OSError as error:
        raise _named(error, path, temporary) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, errors: str = "strict") -> None:
    """Write a text file as UTF-8, replacing `path` whole.

    Args:
        path: Of the file.
        text: What it shall hold; line ends are written as they are on the system.
        errors: What to do with characters that UTF-8 lacks; see `str.encode`.

    Raises:
        OutputError: As `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, replacing `path` whole.

    Args:
        path: Of the file.
        data: What it shall hold.

    Raises:
        OutputError: As `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a folder to be filled; on success it takes the place of the folder `path`.

    Args:
        path: Of the folder; those above it are made.

    Raises:
        OutputError: If it cannot be written; what was there before is intact.
    """
    make_folder(path.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=".unveil-", dir=path.parent) as made:
            folder = Path(made) / "new"
            folder.mkdir()
            yield folder
            if path.exists():
                path.rename(Path(made) / "old")
            folder.rename(path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def make_folder(folder: Path) -> None:
    """Make a folder for results, and those above it, unless it is there.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of a run that was killed while it wrote `path`."""
    for leftover in path.parent.glob(f".{glob.escape(path.stem[:40])}-????????????.*"):
        if leftover.suffix in (".part", ".raw"):
            leftover.unlink(missing_ok=True)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _named(error: OSError, path: Path, temporary: Path) -> OutputError:
    """Return what went wrong in terms of `path`; the temporary name means nothing to anyone."""
    if is_disk_full(error):
        full = OutputError(
            f"{path}: cannot be written: the disk that holds {path.parent} is full; free some "
            "space, or choose a folder on another disk"
        )
        full.errno = errno.ENOSPC
        return full
    if not isinstance(error, OutputError):
        return OutputError(f"{path}: cannot be written: {error.strerror or error}")
    text = str(error).replace(str(temporary.with_suffix(".raw")), str(path))
    return OutputError(text.replace(str(temporary), str(path)))
