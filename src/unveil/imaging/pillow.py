"""HEIC and BMP, which libvips' wheel does not read, through Pillow."""

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from unveil.errors import ImageFileError, MissingExtraError, OutputError
from unveil.imaging import heif
from unveil.imaging._vips import reason
from unveil.imaging.convert import divided, shorten_bits, spread_bits, to_format
from unveil.imaging.formats import BMP, HEIC, Format, check_size
from unveil.imaging.header_limits import check_memory
from unveil.imaging.image import (
    Array,
    Image,
    Metadata,
    colours_and_alpha,
    plausible_density,
)

# By channels, as pillow-heif calls them.
_DEEP_MODES = {1: "I;16", 3: "RGB;16", 4: "RGBA;16"}
_DEEP_PREMULTIPLIED = "RGBa;16"
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA", "LA": "LA",
          "RGBa": "RGBA"}  # fmt: skip


def pillow(kind: Format) -> Any:
    """Return `PIL.Image`, with HEIC registered when `kind` needs it.

    Raises:
        MissingExtraError: If Pillow, or pillow-heif for HEIC, is not installed.
    """
    try:
        import PIL.Image  # noqa: PLC0415 - optional

        if kind is HEIC:
            import pillow_heif  # noqa: PLC0415 - optional

            pillow_heif.register_heif_opener()
    except ImportError as error:
        raise MissingExtraError(f"reading and writing {kind.name} files", "heic") from error
    return PIL.Image


def read_with_pillow(path: Path, kind: Format, max_megapixels: float) -> Image:
    """Read a HEIC or BMP file; see `unveil.imaging.read_image`.

    Args:
        path: Of the file.
        kind: HEIC or BMP.
        max_megapixels: The most that is read, in millions of pixels.

    Raises:
        ImageFileError: If it is damaged, too large or of a colour space we do not read.
        MissingExtraError: If a library is missing.
    """
    opened = _opener(kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata in files that decode all the same
            with opened(path) as file:
                return _convert(path, kind, file, max_megapixels)
    except (OSError, ValueError, SyntaxError, EOFError, RuntimeError) as error:
        if isinstance(error, ImageFileError):
            raise
        raise ImageFileError(f"{path}: damaged or unsupported {kind.name}: {reason(error)}") from (
            error
        )


def _opener(kind: Format) -> Any:
    """Return Pillow's class for files of `kind`; `PIL.Image.open` has a size limit of its own."""
    pillow(kind)
    if kind is HEIC:
        import pillow_heif  # noqa: PLC0415 - optional

        return pillow_heif.HeifImageFile
    import PIL.BmpImagePlugin  # noqa: PLC0415 - optional

    return PIL.BmpImagePlugin.BmpImageFile


def _convert(path: Path, kind: Format, file: Any, max_megapixels: float) -> Image:
    width, height = file.size
    check_size(path, width, height, max_megapixels)
    bits = int(file.info.get("bit_depth") or 8) if kind is HEIC else 8
    if kind is HEIC:
        held = 4.5 * (2 if bits > 8 else 1)
        check_memory(path, width, height, held, max_megapixels, "a HEIC of this size")
    if bits <= 8 and file.mode not in _MODES:
        raise ImageFileError(f"{path}: samples of mode {file.mode}; expected 8-bit gray or RGB")
    samples = _deep_samples(path, bits) if bits > 8 else np.asarray(file.convert(_MODES[file.mode]))
    samples = samples[..., None] if samples.ndim == 2 else samples
    pixels, alpha = colours_and_alpha(samples)
    exif = file.info.get("exif")
    facts = heif.read_facts(path) if kind is HEIC else heif.Facts()
    others = heif.other_parts(path) if kind is HEIC else []
    if kind is HEIC and getattr(file, "n_frames", 1) > 1:
        others.append("the further pictures in the file")
    return Image(
        pixels=pixels,
        alpha=alpha,
        format=kind,
        bits=bits,
        metadata=Metadata(
            exif=exif.removeprefix(b"Exif\0\0") if exif else None,
            icc=file.info.get("icc_profile"),
            xmp=file.info.get("xmp"),
            density=_density(file),
            subsampled=facts.subsampled,
            cicp=facts.cicp,
        ),
        left_out=tuple(others),
    )


def _deep_samples(path: Path, bits: int) -> Array:
    """Read a HEIC of more than 8 bits as uint16, which Pillow's images of colours do not hold."""
    import pillow_heif  # noqa: PLC0415 - optional

    deep = pillow_heif.open_heif(path, convert_hdr_to_8bit=False)
    if deep.mode not in (*_DEEP_MODES.values(), _DEEP_PREMULTIPLIED):
        raise ImageFileError(f"{path}: samples of mode {deep.mode}; expected gray or RGB")
    samples = spread_bits(np.asarray(deep), bits)
    if deep.mode == _DEEP_PREMULTIPLIED:
        samples[..., :3] = divided(samples[..., :3], samples[..., 3])
    return samples


def _density(file: Any) -> tuple[float, float] | None:
    dpi = file.info.get("dpi")
    return plausible_density(float(dpi[0]) / 25.4, float(dpi[1]) / 25.4) if dpi else None


def write_with_pillow(path: Path, kind: Format, image: Image, quality: int) -> None:
    """Write a HEIC or BMP file; see `unveil.imaging.write_image`.

    Args:
        path: Where it is written.
        kind: HEIC or BMP.
        image: Of any type of samples.
        quality: 1 to 100, of HEIC.

    Raises:
        MissingExtraError: If a library is missing.
        OSError: If the file cannot be written.
    """
    module = pillow(kind)
    samples = to_format(image.pixels, kind)
    if image.alpha is not None:
        samples = np.concatenate([samples, to_format(image.alpha[..., None], kind)], axis=2)
        if kind is BMP:
            path.write_bytes(_bmp_with_alpha(samples, image.metadata.density))
            return
    if samples.dtype == np.uint16:
        picture = _deep_picture(samples)
    else:
        picture = module.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    metadata = image.metadata
    options: dict[str, Any] = {}
    if kind is HEIC:
        exif = b"Exif\0\0" + metadata.exif if metadata.exif else None
        given = {"exif": exif, "icc_profile": metadata.icc, "xmp": metadata.xmp}
        options = {name: data for name, data in given.items() if data} | {"quality": quality}
        options |= _coding(metadata)
    elif metadata.density:
        x, y = metadata.density
        options = {"dpi": (x * 25.4, y * 25.4)}
    try:
        picture.save(path, format="HEIF" if kind is HEIC else "BMP", **options)
    except (ValueError, RuntimeError, SystemError) as error:
        raise OutputError(f"{path}: cannot be written: {reason(error)}") from error


def _bmp_with_alpha(samples: Array, density: tuple[float, float] | None) -> bytes:
    """Return a BMP file of ``(h, w, 2 or 4)`` uint8 samples; Pillow writes none that says alpha.

    Source: BITMAPV4HEADER of Windows (bit fields, sRGB).
    """
    red, green, blue, alpha = (0, 0, 0, 1) if samples.shape[2] == 2 else (0, 1, 2, 3)
    rows = np.ascontiguousarray(samples[::-1, :, [blue, green, red, alpha]])
    height, width = rows.shape[:2]
    x, y = (round(1000 * d) for d in density or (0.0, 0.0))
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, rows.nbytes, x, y, 0, 0)
    head += struct.pack("<4I4s", *masks, b"BGRs") + bytes(48)
    start = 14 + len(head)
    return struct.pack("<2sIII", b"BM", start + rows.nbytes, 0, start) + head + rows.tobytes()


def _coding(metadata: Metadata) -> dict[str, Any]:
    """Return pillow-heif's options for the resolution of colour, and for what colours are."""
    options: dict[str, Any] = {} if metadata.subsampled else {"chroma": "444"}
    if metadata.cicp is not None:
        primaries, transfer = metadata.cicp
        options |= {
            "color_primaries": primaries,
            "transfer_characteristics": transfer,
            "matrix_coefficients": heif.BT601,
            "full_range_flag": 1,
        }
    return options


def _deep_picture(samples: Array) -> Any:
    """Wrap uint16 samples for a HEIC of 10 bits, the most its encoders are sure to write."""
    import pillow_heif  # noqa: PLC0415 - optional

    if samples.shape[2] == 2:  # gray with alpha has no mode of its own
        samples = samples[..., [0, 0, 0, 1]]
    height, width, channels = samples.shape
    stored = np.ascontiguousarray(shorten_bits(samples, HEIC.bits))
    mode = _DEEP_MODES[channels]
    return pillow_heif.from_bytes(mode=mode, size=(width, height), data=stored.tobytes())
