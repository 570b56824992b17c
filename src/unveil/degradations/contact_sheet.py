"""A contact sheet: every degradation at three strengths, and every preset."""

from typing import Any

import numpy as np

from unveil.degradations.notation import CATALOGUE, parse
from unveil.degradations.records import Degradation, Image
from unveil.imaging.convert import to_unit

_GAP = 4
_STRIP = 20
_BACKGROUND = np.float32(0.12)


def strength_descriptions(entry: Degradation) -> list[str]:
    """Write an entry's strengths, from weak to strong, as descriptions.

    >>> strength_descriptions(CATALOGUE["jpeg"])[0]
    'jpeg:quality=40'
    """
    separator = "," if ":" in entry.name else ":"
    return [f"{entry.name}{separator}{words}" for words in entry.strengths]


def preset_rows(entry: Degradation) -> list[list[str]]:
    """List an entry's presets as descriptions, three a row.

    >>> preset_rows(CATALOGUE["sensor"])
    [['sensor:any', 'sensor:raw']]
    """
    texts = [f"{entry.name}:{preset}" for preset in entry.presets]
    return [texts[start : start + 3] for start in range(0, len(texts), 3)]


def contact_sheet(image: Image, *, seed: int = 0, width: int = 384) -> Image:
    """Show a photo degraded in every way of the catalogue.

    A row each at three strengths; below it the presets, whose values are drawn.

    Args:
        image: (h, w, 3) in [0, 1].
        seed: Of every degradation.
        width: Width of a picture on the sheet; a larger photo is reduced to it first.

    Returns:
        (h', w', 3) in [0, 1]; each picture stands under its description.

    >>> contact_sheet(np.zeros((30, 40, 3), np.float32)).shape[1]
    136
    """
    small = _reduced(image, width)
    rows = []
    for entry in CATALOGUE.values():
        for texts in (strength_descriptions(entry), *preset_rows(entry)):
            row = [_framed(_captioned(small, text, seed)) for text in texts]
            row += [np.full_like(row[0], _BACKGROUND)] * (3 - len(row))
            rows.append(np.concatenate(row, axis=1))
    sheet = np.concatenate(rows, axis=0)
    return np.pad(sheet, ((_GAP, 0), (_GAP, 0), (0, 0)), constant_values=_BACKGROUND)


def _captioned(image: Image, text: str, seed: int) -> Image:
    degraded = np.clip(parse(text)(image, np.random.default_rng(seed)), 0, 1)
    strip = np.full((_STRIP, image.shape[1], 3), _BACKGROUND, np.float32)
    letters = _letters(text)[: _STRIP - 2, : image.shape[1] - 2]
    strip[2 : 2 + letters.shape[0], 2 : 2 + letters.shape[1]] += 0.8 * letters[..., None]
    return np.concatenate([strip, degraded])


def _framed(picture: Image) -> Image:
    return np.pad(picture, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=_BACKGROUND)


def _reduced(image: Image, width: int) -> Image:
    if image.shape[1] <= width:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    pyvips = _vips()
    whole = pyvips.Image.new_from_array(np.ascontiguousarray(image))
    scales = width / image.shape[1], height / image.shape[0]
    small = whole.resize(scales[0], vscale=scales[1], kernel="cubic").numpy()
    return np.asarray(np.clip(small, 0, 1), dtype=np.float32)


def _letters(text: str) -> Image:
    """Draw text, white on black, (h, w)."""
    mask = _vips().Image.text(text, dpi=84).numpy()
    return to_unit(mask).reshape(mask.shape[:2])


def _vips() -> Any:
    # a shared library of tens of megabytes, loaded when needed
    import pyvips  # type: ignore[import-untyped]  # noqa: PLC0415

    return pyvips
