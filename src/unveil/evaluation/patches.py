"""Named parts of test images, for measures that mean something in smooth areas only."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from unveil.errors import DataError, InputError
from unveil.evaluation.protocols import Image
from unveil.metrics import banding

_FORM = re.compile(r"(?:(?P<name>.+)=)?(?P<rows>\d{1,9}:\d{1,9}),\s*(?P<columns>\d{1,9}:\d{1,9})")
WHOLE = "all"

# A patch's text → the bands of the restored and of the degraded image, levels.
Bands = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Patch:
    """A part of the images whose names fit a pattern.

    Attributes:
        text: As given on the command line.
        pattern: Shell pattern of image names without suffix.
        rows: First row and the row after the last; None takes all.
        columns: Likewise.
    """

    text: str
    pattern: str = "*"
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None

    def cut(self, image: Image, name: str) -> Image:
        """Cut the part out of an image.

        Args:
            image: ``(h, w, 3)``.
            name: Of the image, for the error.

        Raises:
            DataError: The part reaches beyond the image.
        """
        if self.rows is None or self.columns is None:
            return image
        if self.rows[1] > image.shape[0] or self.columns[1] > image.shape[1]:
            raise DataError(
                f"{name} is {image.shape[1]}×{image.shape[0]}: the part {self.text} of it reaches "
                "beyond"
            )
        return image[slice(*self.rows), slice(*self.columns)]


def parse_patch(text: str) -> Patch:
    """Read a part of images: ``all``, ``TOP:BOTTOM,LEFT:RIGHT`` or ``NAME=TOP:BOTTOM,LEFT:RIGHT``.

    Args:
        text: Rows and columns in pixels, the end not included; NAME is a shell pattern.

    Raises:
        InputError: It is not of that form.

    >>> parse_patch("rocket*=10:250,230:300").rows
    (10, 250)
    """
    if text == WHOLE:
        return Patch(text)
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise InputError(
            f"got the part {text!r}: expected `{WHOLE}`, TOP:BOTTOM,LEFT:RIGHT or "
            "NAME=TOP:BOTTOM,LEFT:RIGHT in pixels"
        )
    rows, columns = (_span(found[key], text) for key in ("rows", "columns"))
    return Patch(text, found["name"] or "*", rows, columns)


def _span(text: str, whole: str) -> tuple[int, int]:
    first, last = (int(number) for number in text.split(":"))
    if first >= last:
        raise InputError(f"the part {whole!r} is empty: {text} must rise")
    return first, last


def check_patches(patches: Sequence[Patch], names: Sequence[str]) -> None:
    """Check that every patch belongs to an image.

    Args:
        patches: The patches.
        names: Names of the images.

    Raises:
        InputError: One fits no name, or is given twice.
    """
    if len({patch.text for patch in patches}) < len(patches):
        raise InputError("a part of the images is given twice")
    for patch in patches:
        if not any(fnmatchcase(name, patch.pattern) for name in names):
            raise InputError(f"no image's name fits the part {patch.text!r}; the first: {names[0]}")


def measure_bands(
    patches: Sequence[Patch], name: str, restored: Image, degraded: Image, clean: Image
) -> Bands:
    """Measure `unveil.metrics.banding` on an image's parts.

    Args:
        patches: Those that do not fit the name are left out.
        name: Of the image.
        restored: ``(h, w, 3)`` from `Protocol.as_scored`.
        degraded: Same shape.
        clean: Same shape.

    Returns:
        By the patch's text: levels for the restored and the degraded image.

    Raises:
        DataError: A part reaches beyond the image or is too small.
    """
    bands: dict[str, tuple[float, float]] = {}
    for patch in patches:
        if not fnmatchcase(name, patch.pattern):
            continue
        ours, given, truth = (patch.cut(image, name) for image in (restored, degraded, clean))
        try:
            bands[patch.text] = (
                banding(ours, truth, data_range=1),
                banding(given, truth, data_range=1),
            )
        except InputError as error:
            raise DataError(f"{name}, part {patch.text}: {error}") from error
    return bands
