"""What concerns the whole process: its heap, its memory and cores, the signals that stop it."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

# From glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_PAD = 64 << 20


def keep_freed_memory() -> bool:
    """Let freed tensors' memory stay with the process, for the next tensors to take.

    By default glibc gives the top of its heap back to the system as soon as a few megabytes are
    free, and every tensor made afterwards is paid for in page faults: on a virtual machine up to a
    third of the time of a small operation's forward and backward. The price is that the process
    does not shrink. For programs that run one network over and over; it acts on the whole process,
    so the library itself never calls it.

    Returns:
        Whether the C library took the advice; False on systems other than Linux with glibc.

    >>> keep_freed_memory() in (True, False)
    True
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    advice = (
        (_TRIM_THRESHOLD, 2**31 - 1),
        (_MMAP_MAX, 0),  # or tensors above 32 MiB would go back to the system at once
        (_TOP_PAD, _PAD),
    )
    return all(mallopt(option, value) == 1 for option, value in advice)


def trim() -> None:
    """Return what the C library keeps of freed memory; does nothing where it cannot.

    Threads that come and go leave pools behind, which glibc hands back only on request.

    >>> trim()
    """
    found = _malloc_trim()
    if found is not None:
        found(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def process_memory() -> int:
    """Return the bytes of memory this process holds (its peak where only that is reported)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "win32":
        return 0
    import resource  # noqa: PLC0415 - not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def usable_cores() -> int:
    """Count the processors this process may run on, which a container can make fewer than exist."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def stop_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle SIGINT and SIGTERM inside the block; the former handlers come back after it.

    Outside the main thread, where Python allows no handlers, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {n: signal.signal(n, handler) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)
