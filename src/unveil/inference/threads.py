"""Threads of the processor, for the time of one call."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
    torch.set_num_threads(int(threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
