"""libvips, set up once: few threads of its own, no cached files, errors in one line."""

from functools import cache
from typing import Any

# Decoding and encoding share the machine with a network that wants its cores.
_THREADS = 1


@cache
def vips() -> Any:
    """Return the `pyvips` module, configured for use beside a network.

    The operation cache is off: it answers for a file that has changed on disk with the old pixels.
    """
    # a shared library of tens of megabytes, loaded when needed
    import pyvips  # type: ignore[import-untyped]  # noqa: PLC0415

    pyvips.cache_set_max(0)
    pyvips.concurrency_set(_THREADS)
    return pyvips


def reason(error: Exception) -> str:
    """Return the last line of what libvips or another decoder said, without its trailing noise."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
