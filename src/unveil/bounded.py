"""Bounds of what is given: text and JSON are read within them, so that nothing can exhaust us."""

import json
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Far beyond any configuration or line of a journal, and read in no time.
MOST_BYTES = 2**20
_MOST_DEPTH = 64
# More than any machine has; torch itself stops at 2³¹.
MOST_THREADS = 1024
# Share of a network's change that is applied, least and most.
STRENGTHS = (0, 1)
# Side of a tile in pixels: a smaller one is mostly overlap and a network sees too little; none is
# larger than any image that is read.
SMALLEST_TILE, LARGEST_TILE = 64, 1_000_000


def is_name_byte(character: str) -> bool:
    r"""Return whether a character stands for a byte of a name that is not UTF-8 (PEP 383).

    >>> is_name_byte("\udce9"), is_name_byte("é")
    (True, False)
    """
    return "\udc80" <= character <= "\udcff"


def require_regular(path: Path) -> None:
    """See that `path` names a file on a disk: a pipe would keep us waiting, a device may not end.

    Raises:
        OSError: It names nothing, a folder, a pipe or a device; `strerror` says which.

    >>> require_regular(Path("/dev/null"))
    Traceback (most recent call last):
    OSError: [Errno 22] a pipe or a device, expected a file: '/dev/null'
    """
    try:
        mode = path.stat().st_mode
    except ValueError:  # a null character
        raise OSError(22, "no name of a file", str(path)) from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "a folder, expected a file", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(22, "a pipe or a device, expected a file", str(path))


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what takes too long, such as a regular expression that tries endless combinations.

    Only the main thread of a Unix process can be stopped; elsewhere there is no limit.

    Raises:
        TimeoutError: It took longer.
    """
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise TimeoutError(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        signal.signal(signal.SIGALRM, before)


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Read a file of UTF-8 text.

    Args:
        path: Of the file.
        most: Bytes it may have.

    Raises:
        OSError: It cannot be read, or is no regular file.
        ValueError: It is too large, or not UTF-8.
    """
    require_regular(path)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"larger than {most:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start})") from None


def parse_json(text: str) -> Any:
    """Parse JSON that is not nested deeply and has no numbers of thousands of digits.

    Raises:
        ValueError: It is not JSON, or beyond these bounds.

    >>> parse_json("[" * 100 + "]" * 100)
    Traceback (most recent call last):
    ValueError: nested more than 64 deep
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    level = [content]
    for _ in range(_MOST_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return content
    raise ValueError(f"nested more than {_MOST_DEPTH} deep")


def _children(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in inner if isinstance(child, dict | list)]
