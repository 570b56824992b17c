"""Image files as they are restored: strictly read, named, and what a result does not keep."""

import logging
from pathlib import Path

from unveil.errors import ImageFileError
from unveil.imaging import Develop, Image, read_image
from unveil.imaging.format_losses import losses
from unveil.imaging.formats import MAX_MEGAPIXELS, RAW, TIFF, format_of_suffix
from unveil.inference.naming import Naming
from unveil.inference.value_range import require_unit_range

_log = logging.getLogger(__name__)


def read_source(
    source: Path, max_megapixels: float = MAX_MEGAPIXELS, develop: Develop | None = None
) -> Image:
    """Read an image file whose suffix is that of its format; see `unveil.imaging.read_image`.

    Args:
        source: The file.
        max_megapixels: Largest accepted.
        develop: How a raw photograph is developed; None takes the defaults.

    Raises:
        ImageFileError: If it cannot be read, or holds another format than its suffix says: its
            result would carry the wrong suffix, too.
    """
    image = read_image(source, max_megapixels=max_megapixels, develop=develop)
    promised = format_of_suffix(source)
    # Makers called raw files .tif, and the suffix is right for what is made of them.
    if promised is not image.format and (image.format, promised) != (RAW, TIFF):
        raise ImageFileError(
            f"{source}: holds {image.format.name}, not what its name says; "
            f"rename it to {source.stem}{image.format.suffixes[0]}"
        )
    return image


def log_losses(target: Path, image: Image) -> None:
    """Log what the file `target` does not keep of an image that was written to it.

    Args:
        target: The file; its suffix names the format.
        image: What was written.
    """
    kind = format_of_suffix(target)
    for sentence in losses(image, kind) if kind else ():
        _log.warning("%s: %s", target, sentence)


def check_range(image: Image) -> None:
    """Refuse a file of floats on an unknown scale; see `require_unit_range`.

    Raises:
        InputError: If most samples are far above 1.
    """
    if image.pixels.dtype.kind == "f" and image.white == 1:
        require_unit_range(image.pixels, "file")


def restored_name(source: Path) -> Path:
    """Return where the result of `source` goes by default.

    >>> restored_name(Path("a/photo.small.JPG")).name
    'photo.small.restored.JPG'
    """
    return source.with_name(Naming()(source))
