"""Read image files strictly: whole or not at all."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unveil.errors import ImageFileError, ImageTooLargeError
from unveil.imaging import heif, jpeg, png, tiff, webp
from unveil.imaging._vips import open_image, reason, silent_errors_raised, vips
from unveil.imaging.convert import divided, spread_bits
from unveil.imaging.exif import orientation_of, turned_upright
from unveil.imaging.formats import (
    AVIF,
    BMP,
    HEIC,
    JPEG,
    JXL,
    MAX_MEGAPIXELS,
    PNG,
    PPM,
    RAW,
    TIFF,
    WEBP,
    Format,
    check_size,
    format_of_file,
)
from unveil.imaging.header_limits import check_declared, check_memory, strip_rows
from unveil.imaging.image import Array, Image, Metadata, upright
from unveil.imaging.jxl import read_jxl
from unveil.imaging.netpbm import read_netpbm
from unveil.imaging.raw import Develop, read_raw
from unveil.imaging.scratch import allocate, release
from unveil.imaging.tiff_pages import HEIGHT, WIDTH, Page, Structure, structure_of

_CONTAINERS: dict[Format, Any] = {JPEG: jpeg, PNG: png, WEBP: webp}
_STRIP_ROWS = 64
_MOST_BANDS = 8
_DTYPES = {"uchar": "uint8", "ushort": "uint16", "float": "float32"}
_COLOUR_SPACES = {"srgb", "rgb", "b-w", "rgb16", "grey16", "scrgb", "multiband"}


def read_image(
    path: str | Path,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    develop: Develop | None = None,
) -> Image:
    """Read the image file at `path`, upright, with its metadata.

    Args:
        path: JPEG, PNG, TIFF, WebP, AVIF; HEIC and BMP with the extra `heic`, raw photographs with
            `raw`, JPEG XL with `jxl`, PPM and PGM with `pnm`. Recognised by content.
        max_megapixels: Refuse files that claim to be larger than this, before decoding them.
        develop: How raw photographs are developed.

    Returns:
        The image; samples are uint8, uint16 or float32 as in the file. Large ones are file-backed
        and, when the file stores them turned, not C-contiguous.

    Raises:
        ImageFileError: If the file is missing, damaged, truncated, too large, animated or of a
            kind or colour space we do not read.
        MissingExtraError: For files that need an extra which is not installed.
    """
    path = Path(path)
    kind = format_of_file(path)
    check_declared(path, kind, max_megapixels)
    if kind is RAW:
        return read_raw(path, max_megapixels, develop)
    if kind is JXL:
        return read_jxl(path, max_megapixels)
    if kind is PPM:
        return read_netpbm(path, max_megapixels)
    if kind in (AVIF, HEIC) and heif.is_sequence(path):
        raise _animation(path)
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
        ImageFileError: As `read_image`, or if the file holds several images.
    """
    image = read_image(path, max_megapixels=max_megapixels)
    if image.pages:
        raise ImageFileError(f"{path}: {len(image.pages) + 1} pages; expected a single image")
    pixels = image.pixels
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    return np.ascontiguousarray(pixels)


def _read_with_vips(path: Path, kind: Format, max_megapixels: float) -> Image:
    if kind is TIFF:
        return _read_tiff(path, max_megapixels)
    header = _opened(path, kind)
    check_size(path, header.width, header.height, max_megapixels)
    pages = _field(header, "n-pages") or 1
    if pages > 1 or (kind is PNG and png.is_animated(path)):
        raise _animation(path)
    if kind is AVIF:
        held = (1.5 + header.bands) * (2 if _bits(header) > 8 else 1)
        size = header.width, header.height
        check_memory(path, *size, held, max_megapixels, "an AVIF of this size")
    stored, bits = _samples(path, kind, header)
    facts = heif.read_facts(path) if kind is AVIF else None
    if facts is not None and facts.monochrome:
        stored = stored[..., [0, 3] if stored.shape[2] == 4 else [0]]
    image = _image(stored, bits, kind, _metadata(path, kind, header, facts))
    if facts is not None and facts.premultiplied and image.alpha is not None:
        _divide(image.pixels, image.alpha)
    other_parts = {PNG: png.other_parts, JPEG: jpeg.other_parts, AVIF: heif.other_parts}.get(kind)
    return replace(image, left_out=tuple(other_parts(path))) if other_parts else image


def _animation(path: Path) -> ImageFileError:
    return ImageFileError(
        f"{path}: an animation; unveil restores single images, extract them first"
    )


def _read_tiff(path: Path, max_megapixels: float) -> Image:
    """Read the images among the pages of a TIFF file."""
    try:
        structure = structure_of(path)
    except ValueError as error:
        raise ImageFileError(f"{path}: damaged or unsupported tiff: {error}") from error
    why = next(filter(None, (tiff.unreadable(page.ifd) for page in structure.pages)), None)
    if why is not None:
        raise ImageFileError(f"{path}: {why}")
    sizes = [
        (page.ifd.first(WIDTH), page.ifd.first(HEIGHT))
        for page in structure.pages
        if {WIDTH, HEIGHT} <= page.ifd.values.keys()
    ]
    megapixels = sum(width * height for width, height in sizes) / 1e6
    if len(sizes) > 1 and megapixels > max_megapixels:
        raise ImageTooLargeError(
            f"{path}: {len(sizes)} pages of {megapixels:.0f} megapixels in all, above the limit of "
            f"{max_megapixels:g}; raise it (--max-megapixels) if you trust the file"
        )
    images = [_read_page(path, page, max_megapixels) for page in structure.pages]
    return replace(images[0], pages=tuple(images[1:]), left_out=_others(structure))


def _read_page(path: Path, page: Page, max_megapixels: float) -> Image:
    options = {"page": page.number} | ({} if page.sub is None else {"subifd": page.sub})
    with tiff.corrected(path, page.ifd, tiff.corrections(page.ifd)) as file:
        header = _opened(path, TIFF, file, **options)
        check_size(path, header.width, header.height, max_megapixels)
        stored, bits = _samples(path, TIFF, header)
    image = _image(stored, bits, TIFF, tiff.extract(page.ifd))
    if image.alpha is not None and not tiff.is_transparency(page.ifd):
        image = replace(image, alpha=None, extra=image.alpha[..., None])
    elif image.alpha is not None and tiff.is_premultiplied(page.ifd):
        _divide(image.pixels, image.alpha)
    return replace(image, white=tiff.white(page.ifd) if bits == 32 else 1.0)


def _divide(pixels: Array, alpha: Array) -> None:
    """Undo the multiplication of colours by transparency, in place."""
    for top in range(0, len(pixels), _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        pixels[rows] = divided(pixels[rows], alpha[rows])
        release(pixels)


def _others(structure: Structure) -> tuple[str, ...]:
    """Return which directories of a TIFF file no result keeps."""
    found = {"reduced copy": structure.reduced, "mask or other page": structure.others}
    plurals = {"reduced copy": "reduced copies", "mask or other page": "masks or other pages"}
    return tuple(
        f"{n} {name if n == 1 else plurals[name]} of the picture" for name, n in found.items() if n
    )


def _opened(path: Path, kind: Format, file: Path | None = None, **options: Any) -> Any:
    """Open a file with libvips, and check that its samples are ones we take.

    Args:
        path: Of the file, for messages.
        kind: Its format.
        file: What is read in its place.
        options: Of libvips' loader.
    """
    try:
        header = open_image(file or path, access="sequential", fail_on="error", **options)
    except vips().Error as error:
        raise _damaged(path, kind, error) from error
    _check_supported(path, kind, header)
    return header


def _samples(path: Path, kind: Format, header: Any) -> tuple[Array, int]:
    """Decode a file that is open; return its samples in file order, and their bits."""
    pyvips = vips()
    bits = _bits(header)
    upper = bits if kind is AVIF and bits > 8 else None
    try:
        with silent_errors_raised() if kind is TIFF else nullcontext():
            return _decode(pyvips, header, upper), bits
    except pyvips.Error as error:
        raise _damaged(path, kind, error) from error


def _bits(header: Any) -> int:
    return _field(header, "bits-per-sample") or 8 * np.dtype(_DTYPES[header.format]).itemsize


def _damaged(path: Path, kind: Format, error: Exception) -> ImageFileError:
    return ImageFileError(f"{path}: damaged or unsupported {kind.name}: {reason(error)}")


def _image(stored: Array, bits: int, kind: Format, metadata: Metadata) -> Image:
    """Return an upright image of samples in file order: colours, then at most one of alpha."""
    whole = upright(stored, metadata.orientation)
    colours = 1 if whole.shape[2] <= 2 else 3
    extra = whole.shape[2] - colours
    return Image(
        pixels=_contiguous(whole[..., :colours]),
        alpha=_contiguous(whole[..., colours]) if extra == 1 else None,
        format=kind,
        bits=bits,
        metadata=metadata,
        extra=_contiguous(whole[..., colours:]) if extra > 1 else None,
    )


def _contiguous(view: Array) -> Array:
    base: Any = view
    while base is not None:
        if isinstance(base, np.memmap):
            return view
        base = base.base
    return np.ascontiguousarray(view)


def _check_supported(path: Path, kind: Format, header: Any) -> None:
    if header.interpretation == "cmyk":
        raise ImageFileError(f"{path}: CMYK, which is meant for printing; convert it to RGB first")
    most = _MOST_BANDS if kind is TIFF else 4
    if header.interpretation not in _COLOUR_SPACES or header.bands > most:
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
        strip = strip if upper is None else spread_bits(strip, upper)
        out[top : top + rows] = strip.reshape(rows, image.width, image.bands)
        release(out)
    return out


def _field(image: Any, name: str) -> Any:
    return image.get(name) if image.get_typeof(name) else None


def _metadata(path: Path, kind: Format, header: Any, facts: heif.Facts | None) -> Metadata:
    """Read the containers ourselves: libvips makes up EXIF where there is none."""
    if kind in _CONTAINERS:
        found: Metadata = _CONTAINERS[kind].extract(path)
        return found
    facts = facts or heif.Facts()
    # libheif has turned the pixels as the container states; the orientation in EXIF is out of date.
    return turned_upright(
        Metadata(
            orientation=orientation_of(facts.exif),
            exif=facts.exif,
            icc=_field(header, "icc-profile-data"),
            xmp=_field(header, "xmp-data"),
            lossless=facts.lossless,
            subsampled=facts.subsampled,
            cicp=facts.cicp,
        )
    )
