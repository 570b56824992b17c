"""libvips, set up once: few threads of its own, no cached files, errors in one line."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

# Decoding and encoding share the machine with a network that uses the same cores.
_THREADS = 1
_TIFF_READER = "tiff2vips:"
_decoding_tiff = threading.Lock()


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


@contextmanager
def silent_errors_raised() -> Iterator[None]:
    """Raise an error where tiles of a TIFF file cannot be read: libvips leaves them black.

    It keeps the messages, those of all threads together, so TIFF files are decoded one at a time.

    Raises:
        pyvips.Error: If there are such messages.
    """
    pyvips = vips()
    with _decoding_tiff:
        pyvips.vips_lib.vips_error_clear()
        yield
        said = pyvips.error._to_string(pyvips.vips_lib.vips_error_buffer())
        # Messages that quote a tag are about the directory, which is read here as it is.
        if any(line.startswith(_TIFF_READER) and '"' not in line for line in said.splitlines()):
            pyvips.vips_lib.vips_error_clear()
            raise pyvips.Error("unreadable tiles", said)


def open_image(path: Path, **options: Any) -> Any:
    """Open an image file; libvips takes names of bytes that are not UTF-8 as sources only.

    Args:
        path: Of the file.
        options: Of libvips' loader.
    """
    pyvips = vips()
    if _is_utf8(path):
        return pyvips.Image.new_from_file(str(path), **options)
    source = pyvips.Source.new_from_file(os.fsencode(path))
    return pyvips.Image.new_from_source(source, "", **options)


def save_image(image: Any, path: Path, saver: str, **options: Any) -> None:
    """Encode an image into a file, whatever the bytes of its name.

    Args:
        image: A libvips image.
        path: Of the file.
        saver: Of libvips: ``"png"``, ``"tiff"``, ``"heif"``, …
        options: Of the saver.
    """
    if _is_utf8(path):
        getattr(image, f"{saver}save")(str(path), **options)
    else:
        target = vips().Target.new_to_file(os.fsencode(path))
        getattr(image, f"{saver}save_target")(target, **options)


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def reason(error: Exception) -> str:
    """Return the last line of what libvips or another decoder said, without its trailing noise."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
