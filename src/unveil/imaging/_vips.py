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
    _tolerate_any_text(pyvips)
    return pyvips


def _tolerate_any_text(pyvips: Any) -> None:
    """Let messages that quote a damaged file be decoded; pyvips dies on what is not UTF-8."""
    strict = pyvips.error._to_string

    def tolerant(text: Any) -> str:
        try:
            return str(strict(text))
        except UnicodeDecodeError as error:
            return str(error.object.decode("utf-8", "replace"))

    for module in (pyvips, pyvips.error):
        module._to_string = tolerant


def reason(error: Exception) -> str:
    """Return the last line of what libvips or another decoder said, without its trailing noise."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
