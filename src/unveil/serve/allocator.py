"""Give freed memory back to the system: a server that rests should not look as if it worked."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def trim() -> None:
    """Return what the C library keeps of freed memory; does nothing where it cannot be asked to.

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
