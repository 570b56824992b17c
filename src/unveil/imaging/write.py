"""Write image files: under a temporary name first, so that nothing torn is ever seen."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from unveil.errors import InputError, OutputError
from unveil.imaging._vips import reason, vips
from unveil.imaging.image import Array

_VIPS_FORMATS = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success the file there takes `path`'s place.

    Raises:
        OutputError: If the folder is missing or read-only, or the disk is full.
    """
    temporary = path.with_name(f".{path.stem[:40]}-{secrets.token_hex(6)}.part")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def save_png(path: str | Path, pixels: Array) -> None:
    """Write 8- or 16-bit samples as PNG, replacing `path` whole.

    Args:
        path: Of the file.
        pixels: ``(h, w)``, ``(h, w, 1)`` or ``(h, w, 3)`` uint8 or uint16.

    Raises:
        InputError: If the samples are of another shape or type.
        OutputError: If the file cannot be written.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.dtype.kind != "u":
        raise InputError(
            f"PNG holds (h, w), (h, w, 1) or (h, w, 3) of uint8 or uint16, "
            f"got {pixels.shape} of {pixels.dtype}"
        )
    with replacing(Path(path)) as temporary:
        encode(to_vips(pixels), temporary, "png", keep="none")


def to_vips(pixels: Array) -> Any:
    """Wrap ``(h, w, c)`` samples as a libvips image without copying C-contiguous ones."""
    height, width, bands = pixels.shape
    samples = np.ascontiguousarray(pixels)
    kind = _VIPS_FORMATS[samples.dtype.name]
    image = vips().Image.new_from_memory(samples.data, width, height, bands, kind)
    spaces = {"uchar": ("b-w", "srgb"), "ushort": ("grey16", "rgb16"), "float": ("b-w", "scrgb")}
    return image.copy(interpretation=spaces[kind][bands > 2])


def encode(image: Any, path: Path, saver: str, **options: Any) -> None:
    """Encode a libvips image to `path` with libvips' `saver` ("png", "jpeg", …).

    Raises:
        OutputError: If libvips reports a failure.
    """
    try:
        getattr(image, f"{saver}save")(str(path), **options)
    except vips().Error as error:
        raise OutputError(f"{path.parent}: {saver} cannot be written: {reason(error)}") from error
