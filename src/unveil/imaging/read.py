"""Read image files strictly: whole or not at all."""

from pathlib import Path
from typing import Any

import numpy as np

from unveil.errors import ImageFileError
from unveil.imaging import jpeg, png, tiff, webp
from unveil.imaging._vips import open_image, reason, vips
from unveil.imaging.exif import orientation_of, turned_upright
from unveil.imaging.formats import (
    AVIF,
    BMP,
    HEIC,
    JPEG,
    MAX_MEGAPIXELS,
    PNG,
    TIFF,
    WEBP,
    Format,
    check_size,
    format_of_file,
)
from unveil.imaging.image import Array, Image, Metadata, spread, upright
from unveil.imaging.limits import check_declared, check_memory, strip_rows
from unveil.imaging.scratch import allocate, release

_CONTAINERS: dict[Format, Any] = {JPEG: jpeg, PNG: png, TIFF: tiff, WEBP: webp}
_STRIP_ROWS = 64
_DTYPES = {"uchar": "uint8", "ushort": "uint16", "float": "float32"}
_COLOUR_SPACES = {"srgb", "rgb", "b-w", "rgb16", "grey16", "scrgb", "multiband"}


def read_image(path: str | Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Image:
    """Read the image file at `path`, upright, with its metadata.

    Args:
        path: JPEG, PNG, TIFF, WebP, AVIF; HEIC and BMP with the extra `heic`. Told by content.
        max_megapixels: Refuse files that claim to be larger than this, before decoding them.

    Returns:
        The image; samples are uint8, uint16 or float32 as in the file. Large ones are file-backed
        and, when the file stores them turned, not C-contiguous.

    Raises:
        ImageFileError: If the file is missing, damaged, truncated, too large, animated or of a
            kind or colour space we do not read.
        MissingExtraError: For HEIC and BMP without the extra `heic`.
    """
    path = Path(path)
    kind = format_of_file(path)
    check_declared(path, kind, max_megapixels)
    if kind in (HEIC, BMP):
        from unveil.imaging.pillow import read_with_pillow  # noqa: PLC0415 - optional extra

        return read_with_pillow(path, kind, max_megapixels)
    return _read_with_vips(path, kind, max_megapixels)


def load_rgb(path: str | Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Array:
    """Read `path` as upright RGB samples ``(h, w, 3)``: gray repeated, alpha dropped.

    Args:
        path: Of the image file.
        max_megapixels: Largest image accepted.

    Returns:
        uint8, uint16 or float32, C-contiguous, as the file has it.

    Raises:
        ImageFileError: As `read_image`.
    """
    pixels = read_image(path, max_megapixels=max_megapixels).pixels
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    return np.ascontiguousarray(pixels)


def _read_with_vips(path: Path, kind: Format, max_megapixels: float) -> Image:
    pyvips = vips()
    try:
        header = open_image(path, access="sequential", fail_on="error")
        check_size(path, header.width, header.height, max_megapixels)
        _check_supported(path, kind, header)
        bits = _field(header, "bits-per-sample") or 8 * np.dtype(_DTYPES[header.format]).itemsize
        if kind is AVIF:
            held = (1.5 + header.bands) * (2 if bits > 8 else 1)
            size = header.width, header.height
            check_memory(path, *size, held, max_megapixels, "an AVIF of this size")
        stored = _decode(pyvips, header, bits if kind is AVIF and bits > 8 else None)
    except pyvips.Error as error:
        raise ImageFileError(f"{path}: damaged or unsupported {kind.name}: {reason(error)}") from (
            error
        )
    metadata = _metadata(path, kind, header)
    whole = upright(stored, metadata.orientation)
    colours = 1 if whole.shape[2] <= 2 else 3
    return Image(
        pixels=_contiguous(whole[..., :colours]),
        alpha=_contiguous(whole[..., colours]) if whole.shape[2] > colours else None,
        format=kind,
        bits=bits,
        metadata=metadata,
    )


def _contiguous(view: Array) -> Array:
    base: Any = view
    while base is not None:
        if isinstance(base, np.memmap):
            return view
        base = base.base
    return np.ascontiguousarray(view)


def _check_supported(path: Path, kind: Format, header: Any) -> None:
    pages = _field(header, "n-pages") or 1
    if kind is PNG and png.is_animated(path):
        pages = max(pages, 2)
    if pages > 1:
        raise ImageFileError(
            f"{path}: an animation or several pages; unveil restores single images, extract them"
        )
    if header.interpretation == "cmyk":
        raise ImageFileError(f"{path}: CMYK, which is meant for printing; convert it to RGB first")
    if header.interpretation not in _COLOUR_SPACES or header.bands > 4:
        raise ImageFileError(
            f"{path}: colour space {header.interpretation} with {header.bands} channels; "
            "expected gray or RGB, with or without alpha"
        )
    if header.format not in _DTYPES:
        raise ImageFileError(
            f"{path}: samples of type {header.format}; expected 8 or 16 bits unsigned or "
            "32-bit float"
        )


def _decode(pyvips: Any, image: Any, upper: int | None) -> Array:
    """Decode strip by strip, so that at no time there are two copies.

    With `upper`, that many upper bits of a sample are significant.
    """
    dtype = np.dtype(_DTYPES[image.format])
    out = allocate((image.height, image.width, image.bands), dtype)
    region = pyvips.Region.new(image)
    step = strip_rows(image.width * image.bands * dtype.itemsize, _STRIP_ROWS)
    for top in range(0, image.height, step):
        rows = min(step, image.height - top)
        strip = np.frombuffer(region.fetch(0, top, image.width, rows), dtype)
        strip = strip if upper is None else spread(strip, upper)
        out[top : top + rows] = strip.reshape(rows, image.width, image.bands)
        release(out)
    return out


def _field(image: Any, name: str) -> Any:
    return image.get(name) if image.get_typeof(name) else None


def _metadata(path: Path, kind: Format, header: Any) -> Metadata:
    """Read the containers ourselves: libvips makes up EXIF where there is none."""
    if kind in _CONTAINERS:
        found: Metadata = _CONTAINERS[kind].extract(path)
        return found
    exif = _field(header, "exif-data")
    exif = exif.removeprefix(b"Exif\0\0") if exif else None
    # libheif has turned the pixels as the container says; what EXIF says of it is history.
    return turned_upright(
        Metadata(
            orientation=orientation_of(exif),
            exif=exif,
            icc=_field(header, "icc-profile-data"),
            xmp=_field(header, "xmp-data"),
        )
    )
