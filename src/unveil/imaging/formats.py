"""Kinds of image files: identified by their first bytes, named by their suffixes."""

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
        result: Suffix of results of such files; None keeps their own. Given for what is only read.
    """

    name: str
    suffixes: tuple[str, ...]
    depths: tuple[str, ...]
    bits: int
    alpha: bool
    lossless: bool
    stores_rotation: bool
    result: str | None = None

    @property
    def is_written(self) -> bool:
        """Whether files of this kind can be written."""
        return self.result is None


JPEG = Format("jpeg", (".jpg", ".jpeg", ".jpe", ".jfif"), ("uint8",), 8, False, False, True)
PNG = Format("png", (".png",), ("uint8", "uint16"), 16, True, True, True)
TIFF = Format("tiff", (".tif", ".tiff"), ("uint8", "uint16", "float32"), 32, True, True, True)
WEBP = Format("webp", (".webp",), ("uint8",), 8, True, False, True)
AVIF = Format("avif", (".avif",), ("uint8", "uint16"), 12, True, False, False)
HEIC = Format("heic", (".heic", ".heif"), ("uint8", "uint16"), 10, True, False, False)
BMP = Format("bmp", (".bmp",), ("uint8",), 8, True, True, False)
JXL = Format(
    "jxl", (".jxl",), ("uint8", "uint16", "float32"), 32, True, True, stores_rotation=False
)
PPM = Format("ppm", (".ppm", ".pgm", ".pnm"), ("uint8", "uint16"), 16, False, True, False)
# Suffixes of makers' raw files; the first is what a file without name gets.
_RAW_SUFFIXES = (
    ".dng .3fr .arw .cr2 .cr3 .crw .dcr .erf .fff .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf "
    ".pef .raf .rw2 .rwl .sr2 .srf .srw .x3f"
)
RAW = Format(
    "raw", tuple(_RAW_SUFFIXES.split()), ("uint16",), 16, False, True, False, result=".tif"
)

FORMATS: tuple[Format, ...] = (JPEG, PNG, TIFF, WEBP, AVIF, HEIC, BMP, JXL, PPM)
IMAGE_SUFFIXES: frozenset[str] = frozenset(s for kind in FORMATS for s in kind.suffixes)
# Of what is restored, some of it not written.
READ_SUFFIXES: frozenset[str] = IMAGE_SUFFIXES | frozenset(RAW.suffixes)

# A larger header is more likely an attack than a photograph.
MAX_MEGAPIXELS = 250.0

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
_SPACES = (b" ", b"\n", b"\r", b"\t")
# Offset, bytes, kind. Makers' raw files come first: some begin as TIFF files do.
_MAGIC = (
    (0, b"FUJIFILMCCD-RAW", RAW),
    (0, b"IIRO", RAW),  # Olympus
    (0, b"IIRS", RAW),
    (0, b"MMOR", RAW),
    (0, b"IIU\0", RAW),  # Panasonic
    (0, b"\0MRM", RAW),  # Minolta
    (0, b"FOVb", RAW),  # Sigma
    (6, b"HEAPCCDR", RAW),  # Canon: CRW, CR3, CR2
    (4, b"ftypcrx ", RAW),
    (8, b"CR\2", RAW),
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (0, b"II*\0", TIFF),
    (0, b"MM\0*", TIFF),
    (0, b"II+\0", TIFF),
    (0, b"MM\0+", TIFF),
    (0, b"BM", BMP),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", JXL),
    (0, b"\xff\x0a", JXL),
    *((0, b"P%d" % number + space, PPM) for number in range(1, 7) for space in _SPACES),
)
_CONVERT = "convert it to PNG or TIFF first"
# First bytes -> what the file is, and the way out.
_FOREIGN = (
    (b"GIF8", "a GIF", f"{_CONVERT} (magick photo.gif[0] photo.png)"),
    (b"%PDF", "a PDF", "extract its pictures first (pdfimages -all file.pdf picture)"),
    (b"8BPS", "a Photoshop", "save it as TIFF there"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000", f"{_CONVERT} (magick photo.jp2 photo.png)"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000", f"{_CONVERT} (magick photo.j2k photo.png)"),
    (b"\x76\x2f\x31\x01", "an OpenEXR", "its samples are linear light: tone-map it and save "
     "a 16-bit TIFF (oiiotool in.exr --colorconvert linear sRGB -d uint16 -o out.tif)"),
    (b"#?RADIANCE", "a Radiance HDR", "its samples are linear light: tone-map it and save a "
     "16-bit TIFF"),
    (b"SIMPLE  =", "a FITS", "stretch it in an astronomy program (Siril, GIMP) and save a "
     "16-bit TIFF"),
    (b"gimp xcf", "a GIMP", "export it as PNG or TIFF there"),
    (b"qoif", "a QOI", f"{_CONVERT} (magick photo.qoi photo.png)"),
    (b"DDS ", "a DDS", f"{_CONVERT} (magick texture.dds texture.png)"),
    (b"P7", "a PAM", f"{_CONVERT} (pamtopng photo.pam > photo.png)"),
    (b"PF", "a PFM", "its samples are linear light: tone-map it and save a 16-bit TIFF"),
    (b"Pf", "a PFM", "its samples are linear light: tone-map it and save a 16-bit TIFF"),
    (b"P4", "a bitmap", "convert it to gray first (pnmtopng scan.pbm > scan.png)"),
    (b"\x89PNG", "an animated PNG", "extract its frames first (ffmpeg -i a.apng frame%03d.png)"),
)  # fmt: skip
# Suffixes -> the first bytes that such files have.
_FOREIGN_SUFFIXES = {
    ".gif": b"GIF8", ".pdf": b"%PDF", ".psd": b"8BPS", ".jp2": b"\0\0\0\x0cjP  ",
    ".j2k": b"\xff\x4f\xff\x51", ".jpx": b"\0\0\0\x0cjP  ", ".exr": b"\x76\x2f\x31\x01",
    ".hdr": b"#?RADIANCE", ".fits": b"SIMPLE  =", ".fit": b"SIMPLE  =", ".fts": b"SIMPLE  =",
    ".xcf": b"gimp xcf", ".qoi": b"qoif", ".dds": b"DDS ", ".pam": b"P7", ".pfm": b"PF",
    ".pbm": b"P4", ".apng": b"\x89PNG",
}  # fmt: skip


def format_of_suffix(path: str | Path) -> Format | None:
    """Return the format a file name promises, or None when its suffix is not one of ours.

    >>> format_of_suffix("a/b.JPG").name
    'jpeg'
    """
    suffix = Path(path).suffix.lower()
    return next((kind for kind in (*FORMATS, RAW) if suffix in kind.suffixes), None)


def way_out(head: bytes = b"", suffix: str = "") -> str | None:
    """Return what a file is that is not read, and what can be done; None where it is not known.

    Args:
        head: Its first bytes.
        suffix: Of its name; looked at where no bytes are given.

    >>> way_out(suffix=".gif")
    'a GIF file; convert it to PNG or TIFF first (magick photo.gif[0] photo.png)'
    """
    head = head or _FOREIGN_SUFFIXES.get(suffix.lower(), b"")
    for magic, what, way in _FOREIGN:
        if head.startswith(magic):
            return f"{what} file; {way}"
    return None


def format_named(name: str) -> Format:
    """Return the format called `name`: ``"png"``, ``"jpg"``, ``".tif"``.

    Raises:
        ImageFileError: If there is none.

    >>> format_named("tif").suffixes[0]
    '.tif'
    """
    wanted = name.lower().lstrip(".")
    if wanted == RAW.name or f".{wanted}" in RAW.suffixes:
        raise ImageFileError(f"format {name!r}: raw photographs are read, not written; choose tiff")
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
    for at, magic, kind in _MAGIC:
        if head[at:].startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    return _sniff_heif(head) if head[4:8] == b"ftyp" else None


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
        names = ", ".join(kind.name for kind in FORMATS)
        given = way_out(head) or f"no image we can read; expected one of {names}"
        raise ImageFileError(f"{path}: {given}")
    return RAW if kind is TIFF and _is_raw(path) else kind


def _is_raw(path: Path) -> bool:
    """Return whether a TIFF structure holds a raw photograph, as DNG and most makers' files do."""
    from unveil.imaging.tiff_pages import structure_of  # noqa: PLC0415 - rarely needed

    try:
        return structure_of(path).is_raw
    except ValueError:
        return False


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(32)


def check_size(path: Path, width: int, height: int, max_megapixels: float) -> None:
    """Refuse a header that claims more than `max_megapixels`.

    Args:
        path: Of the file, for the message.
        width: In pixels.
        height: In pixels.
        max_megapixels: The most that is read, in millions of pixels.

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
