"""What a network changes about an image file, apart from how much of it is applied.

`change_of` and then `with_change` give what `Restorer.restore_image` gives; the second runs no
network, so that results at other strengths cost a blend.
"""

from collections.abc import Callable

import numpy as np

from unveil.imaging import Image
from unveil.imaging.convert import add_residual, normalised, to_unit
from unveil.imaging.image import Array, Uint8Image
from unveil.imaging.scratch import allocate_like, release
from unveil.imaging.thumbnail import with_new_thumbnail
from unveil.inference.image_files import check_range
from unveil.inference.restorer import Restorer
from unveil.inference.strength import Strength
from unveil.inference.tiling import Progress
from unveil.inference.visible import restore_visible

_ROWS = 256


def change_of(
    restorer: Restorer, image: Image, out: Array, progress: Progress | None = None
) -> None:
    """Write what the network changes about a page at full strength into `out`.

    Args:
        restorer: Network and options; its strength does not matter.
        image: The page.
        out: ``(h, w, c)`` float32 zeros, 1.0 being full scale; stays 0 where nothing can be seen.
        progress: As `TiledInference.restore`.

    Raises:
        InputError: As `Restorer.restore_image`.
    """
    check_range(image)

    def into(pixels: Array, made: Array) -> None:
        scaled = normalised(pixels, image.white)
        restorer.engine.change(scaled, made, progress)

    restore_visible(image.pixels, image.alpha, into, out, None)


def with_change(
    image: Image,
    change: Array,
    strength: Strength,
    mask: Uint8Image | None = None,
) -> Image:
    """Return a page with a change applied.

    Args:
        image: The page.
        change: From `change_of`.
        strength: How much of it is applied.
        mask: ``(h', w')`` of any size, spread over the page: it is applied where 255, not where 0.

    >>> page = Image(np.full((1, 4, 1), 100, np.uint8))
    >>> change = np.full((1, 4, 1), 40 / 255, np.float32)
    >>> made = with_change(page, change, Strength(), np.array([[0, 255]], np.uint8))
    >>> made.pixels.ravel().tolist()
    [100, 110, 130, 140]
    """
    out = allocate_like(image)
    shares = None if mask is None else _spread(mask, image.pixels.shape[:2])
    for top in range(0, len(out), _ROWS):
        rows = slice(top, min(top + _ROWS, len(out)))
        applied = strength.scaled(change[rows])
        if shares is not None:
            applied = applied * shares(rows)
        add_residual(image.pixels[rows], applied, out[rows], image.white)
        for array in (image.pixels, change, out):
            release(array)
    return with_new_thumbnail(image, out)


def _spread(mask: Uint8Image, size: tuple[int, ...]) -> Callable[[slice], Array]:
    """Return a function that gives rows of a mask at another size, as ``(n, w, 1)`` floats."""
    height, width = size
    left, right, across = _between(np.arange(width), width, mask.shape[1])

    def rows_of(rows: slice) -> Array:
        top, bottom, down = _between(np.arange(rows.start, rows.stop), height, mask.shape[0])
        lines = to_unit(mask[top[0] : bottom[-1] + 1])
        wide = lines[:, left] * (1 - across) + lines[:, right] * across
        upper, lower = wide[top - top[0]], wide[bottom - top[0]]
        return np.asarray((upper + (lower - upper) * down[:, None])[..., None])

    return rows_of


def _between(at: Array, length: int, count: int) -> tuple[Array, Array, Array]:
    """Return the two of `count` samples each place lies between, and the share of the second."""
    place = np.clip((at + 0.5) * (count / length) - 0.5, 0, count - 1).astype(np.float32)
    first = place.astype(np.intp)
    return first, np.minimum(first + 1, count - 1), place - first
