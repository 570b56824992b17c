"""Generated pictures of pages: text, line drawings, screens."""

from typing import Any

import numpy as np

from unveil.data.crop import FloatImage
from unveil.imaging.convert import to_unit

_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_DIGITS = "0123456789"


def text(side: int, rng: np.random.Generator) -> FloatImage:
    """Set lines of random words on paper; which letters look how depends on the fonts installed.

    Args:
        side: Side of the square picture, in pixels.
        rng: Source of all draws.
    """
    ink, paper = _ink_and_paper(rng)
    cover = _words(side, rng)
    return np.asarray(paper + cover[..., None] * (ink - paper), dtype=np.float32)


def drawing(side: int, rng: np.random.Generator) -> FloatImage:
    """Draw lines, circles and boxes on paper, some filled: line art, plans, cartoons.

    The arguments are those of `text`.
    """
    ink, paper = _ink_and_paper(rng)
    picture = np.full((side, side, 3), paper, np.float32)
    place = np.arange(side, dtype=np.float32)
    y, x = place[:, None], place[None]
    for _ in range(int(rng.integers(3, 14))):
        a, b = rng.uniform(-0.2, 1.2, (2, 2)) * side
        width = float(rng.choice([0.7, 1, 2, rng.uniform(2, 6)]))
        kind = rng.random()
        if kind < 0.5:
            along = ((y - a[0]) * (b[0] - a[0]) + (x - a[1]) * (b[1] - a[1])) / max(
                float(((b - a) ** 2).sum()), 1
            )
            along = np.clip(along, 0, 1)
            distance = np.hypot(y - a[0] - along * (b[0] - a[0]), x - a[1] - along * (b[1] - a[1]))
        else:
            radius = rng.uniform(0.03, 0.5) * side
            dy, dx = np.abs(y - a[0]), np.abs(x - a[1])
            outside = np.hypot(dy, dx) if kind < 0.75 else np.maximum(dy, dx)
            distance = np.abs(outside - radius) if rng.random() < 0.7 else outside - radius
        cover = np.clip(width / 2 + 0.5 - distance, 0, 1)[..., None]
        colour = ink if rng.random() < 0.6 else rng.random(3).astype(np.float32)
        picture += (cover * (colour - picture)).astype(np.float32)
    return picture


def screen(side: int, rng: np.random.Generator) -> FloatImage:
    """Draw windows, panels, rows and letters, all with hard edges, as screenshots have them.

    The arguments are those of `text`.
    """
    ink, paper = _ink_and_paper(rng)
    picture = np.full((side, side, 3), paper, np.float32)
    for _ in range(int(rng.integers(2, 9))):
        top, left = (int(rng.integers(-side // 4, side)) for _ in range(2))
        height, width = (int(rng.integers(4, max(5, side))) for _ in range(2))
        part = np.s_[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
        inner = np.s_[
            max(0, top + 1) : max(0, top + height - 1), max(0, left + 1) : max(0, left + width - 1)
        ]
        shade = rng.random() if rng.random() < 0.7 else rng.random(3)
        picture[part] = ink if rng.random() < 0.5 else shade
        picture[inner] = shade
    if rng.random() < 0.7:
        cover = _words(side, rng)[..., None]
        picture += cover * (ink - picture)
    if rng.random() < 0.3:
        step = int(rng.integers(6, 30))
        picture[::step] = ink
    return picture


def _ink_and_paper(rng: np.random.Generator) -> tuple[FloatImage, FloatImage]:
    """Draw two colours apart in tone: often black on white, at times light on dark."""
    dark, bright = rng.uniform(0, 0.35), rng.uniform(0.65, 1)
    if rng.random() < 0.4:
        dark, bright = 0.0, 1.0
    ink, paper = np.full(3, dark), np.full(3, bright)
    if rng.random() < 0.4:
        ink, paper = ink + rng.normal(0, 0.12, 3), paper + rng.normal(0, 0.08, 3)
    if rng.random() < 0.25:
        ink, paper = paper, ink
    return np.clip(ink, 0, 1).astype(np.float32), np.clip(paper, 0, 1).astype(np.float32)


def _words(side: int, rng: np.random.Generator) -> FloatImage:
    """Render lines of words at a random size, (side, side), 1 where there is ink."""
    points = int(rng.choice([7, 9, 11, 14, 20, 36]))
    face = str(rng.choice(["sans", "serif", "monospace", "sans bold", "serif italic"]))
    # A letter is about as wide as 0.7 points at 84 dpi, a line as high as 1.6.
    columns, rows = int(side / (0.6 * points)) + 2, int(side / (1.4 * points)) + 2
    lines = [_line(columns, rng) for _ in range(rows)]
    mask = np.asarray(_vips().Image.text("\n".join(lines), font=f"{face} {points}", dpi=84).numpy())
    mask = mask.reshape(mask.shape[0], mask.shape[1])
    down, right = (int(rng.integers(0, max(1, n - side))) for n in mask.shape)
    part = to_unit(mask[down : down + side, right : right + side])
    page = np.zeros((side, side), np.float32)
    page[: part.shape[0], : part.shape[1]] = part
    return page


def _line(columns: int, rng: np.random.Generator) -> str:
    letters = _LETTERS if rng.random() < 0.8 else _DIGITS
    # The more frequent letters come first.
    ranks = np.minimum(rng.geometric(0.1, columns) - 1, len(letters) - 1)
    line = [letters[rank] for rank in ranks]
    for gap in np.cumsum(rng.integers(2, 10, columns)):
        if gap < columns:
            line[gap] = " "
    return "".join(line).capitalize()


def _vips() -> Any:
    # a shared library of tens of megabytes, loaded when needed
    import pyvips  # type: ignore[import-untyped]  # noqa: PLC0415

    return pyvips
