"""Kinds of image files: told apart by their first bytes, named by their suffixes."""

from dataclasses import dataclass
from pathlib import Path

from unveil.errors import ImageFileError, ImageTooLargeError


@dataclass(frozen=True)
class Format:
    """A kind of image file.

    Attributes:
        name: As users know it, lower case: ``"jpeg"``.
        suffixes: Accepted file suffixes; the first is the one we write.
        depths: Sample types it can hold, as numpy names; the last is the deepest.
        bits: The most of a sample it keeps.
        alpha: Whether it can hold an alpha channel.
        lossless: Whether pixels come back as they were written.
        stores_rotation: Whether its viewers turn the image by the EXIF orientation.
    """

    name: str
    suffixes: tuple[str, ...]
    depths: tuple[str, ...]
    bits: int
    alpha: bool
    lossless: bool
    stores_rotation: bool


JPEG = Format("jpeg", (".jpg", ".jpeg", ".jpe", ".jfif"), ("uint8",), 8, False, False, True)
PNG = Format("png", (".png",), ("uint8", "uint16"), 16, True, True, True)
TIFF = Format("tiff", (".tif", ".tiff"), ("uint8", "uint16", "float32"), 32, True, True, True)
WEBP = Format("webp", (".webp",), ("uint8",), 8, True, False, True)
AVIF = Format("avif", (".avif",), ("uint8", "uint16"), 12, True, False, False)
HEIC = Format("heic", (".heic", ".heif"), ("uint8", "uint16"), 10, True, False, False)
BMP = Format("bmp", (".bmp",), ("uint8",), 8, False, True, False)

FORMATS: tuple[Format, ...] = (JPEG, PNG, TIFF, WEBP, AVIF, HEIC, BMP)
IMAGE_SUFFIXES: frozenset[str] = frozenset(s for kind in FORMATS for s in kind.suffixes)

# A larger header is more likely an attack than a photograph.
MAX_MEGAPIXELS = 250.0

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
_KNOWN_FOREIGN = {b"GIF8": "GIF", b"%PDF": "PDF", b"8BPS": "Photoshop", b"FUJI": "camera raw"}


def format_of_suffix(path: str | Path) -> Format | None:
    """Return the format a file name promises, or None when its suffix is not one of ours.

    >>> format_of_suffix("a/b.JPG").name
    'jpeg'
    """
    suffix = Path(path).suffix.lower()
    return next((kind for kind in FORMATS if suffix in kind.suffixes), None)


def format_named(name: str) -> Format:
    """Return the format called `name`: ``"png"``, ``"jpg"``, ``".tif"``.

    Raises:
        ImageFileError: If there is none.

    >>> format_named("tif").suffixes[0]
    '.tif'
    """
    wanted = name.lower().lstrip(".")
    for kind in FORMATS:
        if wanted == kind.name or f".{wanted}" in kind.suffixes:
            return kind
    names = ", ".join(kind.name for kind in FORMATS)
    raise ImageFileError(f"unknown image format {name!r}; known: {names}")


def sniff(head: bytes) -> Format | None:
    """Return the format whose signature `head`, the first 32 bytes of a file, carries.

    >>> sniff(b"BM" + bytes(30)).name
    'bmp'
    """
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head[:4] in _TIFF_MAGIC:
        return TIFF
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[4:8] == b"ftyp":
        return _sniff_heif(head)
    return BMP if head.startswith(b"BM") else None


def _sniff_heif(head: bytes) -> Format | None:
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, len(head), 4))]
    if any(brand in (b"avif", b"avis") for brand in brands):
        return AVIF
    return HEIC if brands[0] in _HEIC_BRANDS else None


def format_of_file(path: Path) -> Format:
    """Return the format of the file at `path`, by its content.

    Raises:
        ImageFileError: If the file is missing, unreadable, empty, a device or of no kind we read.
    """
    try:
        # A pipe would keep us waiting, and a device may never end.
        special = path.exists() and not (path.is_file() or path.is_dir())
        head = b"" if special else _head(path)
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if special:
        raise ImageFileError(f"{path}: a pipe or a device; expected an image file")
    if not head:
        raise ImageFileError(f"{path}: the file is empty")
    kind = sniff(head)
    if kind is None:
        what = _KNOWN_FOREIGN.get(head[:4])
        given = f"a {what} file" if what else "no image we can read"
        names = ", ".join(kind.name for kind in FORMATS)
        raise ImageFileError(f"{path}: {given}; expected one of {names}")
    return kind


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(32)


def check_size(path: Path, width: int, height: int, max_megapixels: float) -> None:
    """Refuse a header that claims more than `max_megapixels`.

    Raises:
        ImageTooLargeError: If it does.
    """
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        size = f"{megapixels:.0f}" if megapixels >= 10 else f"{megapixels:.3f}"
        raise ImageTooLargeError(
            f"{path}: {width}×{height} is {size} megapixels, above the limit of "
            f"{max_megapixels:g}; raise it (--max-megapixels) if you trust the file"
        )
