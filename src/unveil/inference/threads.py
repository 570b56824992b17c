"""Threads of the processor, for the time of one call."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import torch

from unveil.bounded import MOST_THREADS
from unveil.errors import InputError


def checked_threads(threads: int | None) -> int | None:
    """Return a number of threads as it was given.

    Raises:
        InputError: It is not a whole number from 1 to `MOST_THREADS`, nor None.

    >>> checked_threads(2)
    2
    """
    if threads is None:
        return None
    whole = isinstance(threads, Integral) and not isinstance(threads, bool)
    if not whole or not 1 <= threads <= MOST_THREADS:
        raise InputError(f"threads is {threads!r:.40}; expected 1 to {MOST_THREADS}, or None")
    return int(threads)


@contextmanager
def using_threads(threads: int | None) -> Iterator[None]:
    """Let torch use so many threads inside the block; its setting is one for the whole process.

    Args:
        threads: None changes nothing.
    """
    if threads is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
