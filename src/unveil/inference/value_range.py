"""Whether floats are on the scale that networks take: nominally [0, 1]."""

import numpy as np

from unveil.errors import InputError
from unveil.imaging.image import Array

# Floats nominally end at 1. Where most are above this, they have another scale.
_BRIGHT = 4.0
# Noise around black averages out over a block; an image of [-1, 1] has dark blocks below 0.
_BLOCK, _DARK, _SHARE = 8, -0.1, 0.01
_SIGNED = 1.2
_LOOKED_AT = 2**22


def require_unit_range(samples: Array, name: str) -> None:
    """Refuse floats that run from 0 to 255 or so, or from -1 to 1.

    Highlights may be as bright as they like, and noise may go below 0.

    Args:
        samples: ``(h, w, c)`` or ``(b, h, w, c)`` floats.
        name: What they are, for the message.

    Raises:
        InputError: If most samples are far above 1, or blocks of them lie below 0.

    >>> require_unit_range(np.linspace(-1, 1, 768).reshape(16, 16, 3), "array")
    Traceback (most recent call last):
    unveil.errors.InputError: the array runs from -1 to 1; expected floats, nominally in [0, 1]: \
take (x + 1) / 2, and 2 * y - 1 of the result
    """
    if np.count_nonzero(samples > _BRIGHT) > samples.size / 2:
        raise InputError(
            f"most of the {name}'s values are above {_BRIGHT:g}; expected floats, nominally in "
            "[0, 1]: divide by 255 (or 65535) first"
        )
    for image in samples if samples.ndim == 4 else [samples]:
        if _is_signed(image):
            raise InputError(
                f"the {name} runs from -1 to 1; expected floats, nominally in [0, 1]: "
                "take (x + 1) / 2, and 2 * y - 1 of the result"
            )


def _is_signed(image: Array) -> bool:
    height, width = image.shape[:2]
    if min(height, width) < _BLOCK:
        return False
    # Of large images, some rows of blocks; a mean over channels, as vivid colours of a wider
    # gamut have negative ones.
    step = _BLOCK * max(1, height * width // _LOOKED_AT)
    columns = width // _BLOCK
    rows = [
        np.nan_to_num(image[top : top + _BLOCK, : columns * _BLOCK], posinf=0, neginf=0)
        for top in range(0, height - _BLOCK + 1, step)
    ]
    blocks = np.stack(rows).reshape(len(rows), _BLOCK, columns, _BLOCK, -1)
    if np.mean(np.abs(blocks) > _SIGNED) > _SHARE:
        return False
    return bool(np.mean(blocks.mean((1, 3, 4)) < _DARK) > _SHARE)
