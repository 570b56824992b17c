"""What a network changes about an image file, apart from how much of it is applied.

`change_of` and then `with_change` give what `Restorer.restore_image` gives; the second runs no
network, so that results at other strengths cost a blend.
"""

from collections.abc import Callable

from unveil.imaging import Image
from unveil.imaging.convert import add_residual, normalised
from unveil.imaging.image import Array
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
    shares: Callable[[slice], Array] | None = None,
) -> Image:
    """Return a page with a change applied.

    Args:
        image: The page.
        change: From `change_of`.
        strength: How much of it is applied.
        shares: Gives, for rows, ``(n, w, 1)`` factors of the strength; None stands for 1.
    """
    out = allocate_like(image)
    for top in range(0, len(out), _ROWS):
        rows = slice(top, min(top + _ROWS, len(out)))
        applied = strength.scaled(change[rows])
        if shares is not None:
            applied = applied * shares(rows)
        add_residual(image.pixels[rows], applied, out[rows], image.white)
        for array in (image.pixels, change, out):
            release(array)
    return with_new_thumbnail(image, out)
