"""Write image files."""

import errno
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unveil.errors import InputError, OutputError
from unveil.imaging import heif, jpeg, png, tiff, webp
from unveil.imaging._vips import open_image, reason, save_image, vips
from unveil.imaging.atomic import replacing
from unveil.imaging.claims import without_claims
from unveil.imaging.convert import multiplied, normalised, shorten_bits, to_format
from unveil.imaging.exif import turned_upright
from unveil.imaging.formats import (
    AVIF,
    BMP,
    HEIC,
    JPEG,
    JXL,
    PNG,
    PPM,
    TIFF,
    WEBP,
    Format,
    format_of_suffix,
)
from unveil.imaging.image import Array, Image, Metadata, as_stored
from unveil.imaging.jxl import write_jxl
from unveil.imaging.netpbm import write_netpbm
from unveil.imaging.scratch import is_disk_full
from unveil.imaging.thumbnail import renewed

_log = logging.getLogger(__name__)
# Visually transparent, at a fraction of lossless size; JPEG files follow their own quality instead.
_DEFAULT_QUALITY = {JPEG: 95, WEBP: 92, AVIF: 85, HEIC: 92}
_VIPS_FORMATS = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}
_SPACES = {"uint8": ("b-w", "srgb"), "uint16": ("grey16", "rgb16"), "float32": ("b-w", "scrgb")}
# Optimal Huffman tables cost libjpeg a copy of all coefficients, 4 to 6 bytes per pixel.
_BUFFERED_JPEG = 30e6
_CLASSIC_TIFF_BYTES = 3.5 * 2**30
# libvips' flags for what it writes itself: XMP and colour profile.
_KEPT = 2 + 8
_CONTAINERS: dict[Format, Any] = {JPEG: jpeg, PNG: png, WEBP: webp}


def write_image(path: str | Path, image: Image, *, quality: int | None = None) -> None:
    """Write `image` with its metadata, replacing `path` whole.

    Samples a format cannot hold are converted to the deepest it can. In a file of the format the
    image came from, rotation by the EXIF orientation is kept; elsewhere pixels are stored upright.

    Args:
        path: Of the file; the suffix names the format.
        image: Pixels and metadata.
        quality: 1–100 for lossy formats. None follows a JPEG input's own tables, and is high for
            others; a lossless WebP stays lossless.

    Raises:
        InputError: If the suffix is unknown or `quality` is out of range.
        OutputError: If the format cannot hold the image or the file cannot be written.
        MissingExtraError: For a format that needs an extra which is not installed.
    """
    path = Path(path)
    kind = format_of_suffix(path)
    if kind is not None and not kind.is_written:
        raise InputError(f"{path.name}: {kind.name} files are read, not written; try .tif")
    if kind is None:
        raise InputError(f"{path.name}: no image format has this suffix; try .png, .jpg or .tif")
    if quality is not None and not 1 <= quality <= 100:
        raise InputError(f"quality is 1 to 100, got {quality}")
    if image.alpha is not None and not kind.alpha:
        raise OutputError(f"{path}: {kind.name} holds no transparency; choose png, tiff or webp")
    if image.pages and kind is not TIFF:
        raise OutputError(
            f"{path}: {len(image.pages) + 1} pages, of which {kind.name} holds one; choose tiff"
        )
    verbatim = kind is image.format and bool(image.metadata.raw)
    kept = verbatim and not (kind is JPEG and _loses_trailer(image))
    image = image if kept else _without_claims(image)
    if not (verbatim and kind.stores_rotation):
        image = _upright(image)
    if "float32" not in kind.depths:
        image = replace(image, pixels=normalised(image.pixels, image.white))
    with replacing(path) as temporary:
        if kind in (HEIC, BMP):
            from unveil.imaging.pillow import write_with_pillow  # noqa: PLC0415 - optional extra

            write_with_pillow(temporary, kind, image, quality or _DEFAULT_QUALITY.get(kind, 0))
        elif kind in (JXL, PPM):
            image = _converted(image, kind)
            if kind is JXL:
                write_jxl(temporary, image, quality)
            else:
                write_netpbm(temporary, path, image)
        else:
            _write_with_vips(temporary, kind, image, quality, verbatim)


def _converted(image: Image, kind: Format) -> Image:
    alpha = None if image.alpha is None else to_format(image.alpha, kind)
    return replace(image, pixels=to_format(image.pixels, kind), alpha=alpha)


def _loses_trailer(image: Image) -> bool:
    return image.metadata.trailer is not None and not jpeg.keeps_trailer(image.metadata)


def _without_claims(image: Image) -> Image:
    """Take out of an XMP packet what it says of parts of the file that are not written."""
    old = image.metadata.xmp
    if old is None or (new := without_claims(old)) == old:
        return image
    raw = tuple(
        (*part[:-1], part[-1].replace(old, new))
        if isinstance(part, tuple) and isinstance(part[-1], bytes)
        else part
        for part in image.metadata.raw
    )
    return replace(image, metadata=replace(image.metadata, xmp=new, raw=raw))


def _upright(image: Image) -> Image:
    turned = image.metadata.orientation != 1
    pages = tuple(map(_upright, image.pages))
    image = replace(image, metadata=turned_upright(image.metadata), pages=pages)
    # Seen through an orientation that is no longer said, the thumbnail would lie on its side.
    return renewed(image) if turned else image


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
        _encode(_to_vips(pixels), temporary, "png", filter="all", keep="none")


def _write_with_vips(
    temporary: Path,
    kind: Format,
    image: Image,
    quality: int | None,
    verbatim: bool,
    large: bool | None = None,
) -> None:
    if large is None:
        size = sum(page.pixels.nbytes for page in (image, *image.pages))
        large = size > _CLASSIC_TIFF_BYTES
    orientation = image.metadata.orientation
    if kind is AVIF:
        image = _rounded(image, _avif_bits(image))
    pixels = to_format(image.pixels, kind)
    if (
        kind is TIFF
        and verbatim
        and image.alpha is not None
        and image.metadata.raw[0].premultiplied
    ):
        pixels = multiplied(pixels, image.alpha)
    picture = _to_vips(as_stored(pixels, orientation))
    if image.alpha is not None:
        alpha = as_stored(to_format(image.alpha[..., None], kind), orientation)
        picture = picture.bandjoin(_to_vips(alpha)).copy(interpretation=picture.interpretation)
    if image.extra is not None and verbatim:
        extra = _to_vips(as_stored(image.extra, orientation))
        picture = picture.bandjoin(extra).copy(interpretation=picture.interpretation)
    options = _options(kind, image, quality, verbatim, large)
    if kind is TIFF:
        _encode(picture, temporary, "tiff", **options)
        tiff.embed(temporary, image.metadata, verbatim)
        if verbatim and not _opens(temporary):
            _log.warning("left out: tags of the TIFF file that make it unreadable")
            tiff.embed(temporary, image.metadata, verbatim, plain=True)
        for page in image.pages:
            _append(temporary, page, verbatim, large)
    elif kind is AVIF:
        _encode(_with_fields(picture, image), temporary, "heif", **options)
        _complete_avif(temporary, image.metadata, lossless=options["lossless"])
    else:
        encoded = temporary.with_suffix(".raw")
        try:
            _encode(picture, encoded, kind.name, **options)
            with encoded.open("rb") as source, temporary.open("w+b") as target:
                _CONTAINERS[kind].embed(source, target, image.metadata, verbatim)
        finally:
            encoded.unlink(missing_ok=True)


def _complete_avif(path: Path, metadata: Metadata, *, lossless: bool) -> None:
    """Put into an AVIF file what libvips does not write as it is."""
    if metadata.exif:
        heif.put_exif(path, metadata.exif)
    if metadata.cicp:
        heif.put_cicp(path, metadata.cicp, lossless=lossless)


def _opens(path: Path) -> bool:
    """Return whether the first row of a TIFF file can be read."""
    try:
        image = open_image(path, access="sequential", fail_on="error")
        image.crop(0, 0, image.width, 1).avg()
    except vips().Error:
        return False
    return True


def _append(temporary: Path, page: Image, verbatim: bool, large: bool) -> None:
    """Append a page to a TIFF file."""
    encoded = temporary.with_suffix(".raw")
    try:
        _write_with_vips(encoded, TIFF, page, None, verbatim, large)
        tiff.append_page(temporary, encoded)
    finally:
        encoded.unlink(missing_ok=True)


def _options(
    kind: Format, image: Image, quality: int | None, verbatim: bool, large: bool
) -> dict[str, Any]:
    """Return the options of libvips' saver."""
    chosen = quality or _DEFAULT_QUALITY.get(kind, 0)
    if kind is JPEG:
        followed, subsampled, progressive = image.metadata.quality or (chosen, chosen < 90, False)
        return {
            "Q": quality or followed,
            "subsample_mode": "on" if subsampled else "off",
            "interlace": progressive,
            "optimize_coding": image.pixels.shape[0] * image.pixels.shape[1] < _BUFFERED_JPEG,
            "keep": "none",
        }
    if kind is WEBP:
        lossless = quality is None and image.metadata.lossless
        return {"Q": chosen, "lossless": lossless, "exact": True, "keep": "none"}
    if kind is AVIF:
        return {
            "Q": chosen,
            "lossless": quality is None and image.format is AVIF and image.metadata.lossless,
            "subsample_mode": "auto" if image.metadata.subsampled else "off",
            "compression": "av1",
            "bitdepth": _avif_bits(image),
            "keep": _KEPT,
        }
    if kind is TIFF:
        compression = image.metadata.raw[0].saver if verbatim else "deflate"
        predictor = "float" if image.pixels.dtype.kind == "f" else "horizontal"
        return {
            "compression": compression,
            "predictor": predictor,
            "bigtiff": large,
            "keep": "none",
        }
    return {"filter": "all", "keep": "none"}


def _avif_bits(image: Image) -> int:
    return image.bits if image.bits in (8, 10, 12) else 8 if image.bits < 8 else AVIF.bits


def _rounded(image: Image, bits: int) -> Image:
    """Round 16-bit samples to those of an AVIF file: libvips would cut off what does not fit."""

    def rounded(samples: Array) -> Array:
        samples = to_format(samples, AVIF)
        return shorten_bits(samples, bits) if samples.dtype == np.uint16 else samples

    alpha = None if image.alpha is None else rounded(image.alpha)
    return replace(image, pixels=rounded(image.pixels), alpha=alpha)


def _to_vips(pixels: Array) -> Any:
    """Wrap ``(h, w, c)`` samples as a libvips image without copying C-contiguous ones."""
    height, width, bands = pixels.shape
    samples, name = np.ascontiguousarray(pixels), pixels.dtype.name
    image = vips().Image.new_from_memory(samples.data, width, height, bands, _VIPS_FORMATS[name])
    return image.copy(interpretation=_SPACES[name][bands > 2])


def _with_fields(picture: Any, image: Image) -> Any:
    """Attach metadata as libvips takes it, for containers we do not write ourselves."""
    picture, blob = picture.copy(), vips().GValue.blob_type
    metadata = image.metadata
    fields = {"icc-profile-data": metadata.icc, "xmp-data": metadata.xmp}
    for name, data in fields.items():
        if data:
            picture.set_type(blob, name, data)
    return picture


def _encode(image: Any, path: Path, saver: str, **options: Any) -> None:
    try:
        save_image(image, path, saver, **options)
    except vips().Error as error:
        # Of several lines, the one about the disk need not be the last.
        full = OSError(str(error))
        why = os.strerror(errno.ENOSPC) if is_disk_full(full) else reason(error)
        raise OutputError(f"{path}: cannot be written: {why}") from error
