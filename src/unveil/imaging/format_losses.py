"""What a file of some format does not keep of an image, in words."""

from unveil.imaging import jpeg, png
from unveil.imaging.formats import AVIF, BMP, HEIC, JPEG, JXL, PNG, PPM, TIFF, Format
from unveil.imaging.image import Image, Metadata

# Primaries and transfer functions of H.273 that viewers show as they show sRGB.
_LIKE_SRGB = (1,), (1, 6, 13)


def losses(image: Image, kind: Format) -> list[str]:
    """Return what a file of format `kind` does not keep of an image, one sentence each.

    Args:
        image: As it is written.
        kind: Format of the file.
    """
    found = []
    if image.bits > kind.bits:
        found.append(f"{image.bits}-bit samples stored with {kind.bits} bits, as {kind.name} "
                     "holds no more")  # fmt: skip
    if kind is JPEG and image.format is not JPEG and (names := jpeg.too_large(image.metadata)):
        found.append(f"left out, as jpeg holds at most 64 kB of each: {' and '.join(names)}")
    if (colours := _colours(image, kind)) is not None:
        found.append(f"{colours}, which {kind.name} has not: they will look different; "
                     "choose .png")  # fmt: skip
    parts = [*image.left_out, *_parts(image, kind)]
    return found + ([f"left out: {'; '.join(parts)}"] if parts else [])


def _colours(image: Image, kind: Format) -> str | None:
    """Return by what a file gives its colours, where files of `kind` have no place for that."""
    codes = image.metadata.cicp
    if codes is not None and kind not in (PNG, AVIF, HEIC):
        usual = codes[0] in _LIKE_SRGB[0] and codes[1] in _LIKE_SRGB[1]
        named = f"primaries {codes[0]} and transfer function {codes[1]} of H.273"
        return None if usual else f"the colours are given by codes ({named})"
    chunk = png.colour_chunk(image.metadata) if image.format is PNG else None
    if kind is PNG or chunk in (None, "cICP"):
        return None
    return f"the colours are given by the chunk {chunk}"


def _parts(image: Image, kind: Format) -> list[str]:
    """Name the parts of a file that only its own format has a place for."""
    parts = []
    if image.format is JPEG and not (kind is JPEG and jpeg.keeps_trailer(image.metadata)):
        parts += jpeg.names_of_trailer(image.metadata)
    if image.format is JPEG and kind is not JPEG:
        segments = jpeg.own_segments(image.metadata)
        parts += [f"the maker's segments {' and '.join(segments)}"] if segments else []
    parts += _metadata(image, kind)
    if image.extra is not None and kind is not image.format:
        parts.append("the samples beside its colours that are no transparency; tiff keeps them")
    return parts


def _metadata(image: Image, kind: Format) -> list[str]:
    """Name the blocks of metadata that a format has no place for."""
    held = image.metadata
    blocks = {
        "EXIF": held.exif if kind in (BMP, PPM) else None,
        "XMP": held.xmp if kind in (BMP, PPM) else None,
        "the colour profile": held.icc if kind in (BMP, PPM, JXL) and not _is_srgb(held) else None,
        "IPTC": held.iptc if kind not in (JPEG, TIFF) else None,
    }
    return [name for name, block in blocks.items() if block]


def _is_srgb(metadata: Metadata) -> bool:
    """Return whether a colour profile calls itself sRGB, in one of the ways that profiles do."""
    start = (metadata.icc or b"")[:4096]
    return b"sRGB" in start or "sRGB".encode("utf-16-be") in start
