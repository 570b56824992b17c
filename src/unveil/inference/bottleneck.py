"""What a network's coarsest level makes of a whole image that is restored in tiles.

A scan there covers the whole tile, and the haze that is removed depends on it: neighbouring tiles
would differ. One position of that level stands for many pixels, so the level's features of a
photograph fit where those of its fine levels would not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unveil.imaging.image import Array
from unveil.imaging.scratch import allocate, release
from unveil.inference.tiles import Grid

# Positions that are refined at once, where tiles are of 512 pixels or more: 8 megapixels of a
# network whose positions are of 8×8. Larger images are refined in such pieces.
_POSITIONS, _OF_TILE = 120_000, 512
_OVERLAP = 64

Encode = Callable[[slice, slice], Tensor]
Refine = Callable[[tuple[int, int], tuple[int, int]], Tensor]


def encoded(size: tuple[int, int], grid: Grid, multiple: int, encode: Encode) -> Array:
    """Encode an image tile by tile.

    Tiles meet in the middle of their overlap: what lies nearer to a tile's rim lacks context.

    Args:
        size: Of the image, in pixels.
        grid: Of the tiles.
        multiple: Pixels along the side of one position.
        encode: Maps the rows and columns of a tile to its features
            ``(1, h/multiple, w/multiple, f)``, sizes rounded up.

    Returns:
        ``(h/multiple, w/multiple, f)`` float32, sizes rounded up; may be file-backed.
    """
    height, width = size
    out: Array | None = None
    for top, bottom in grid.spans(height):
        for left, right in grid.spans(width):
            features = encode(slice(top, bottom), slice(left, right))[0].float().cpu().numpy()
            if out is None:
                shape = -(-height // multiple), -(-width // multiple), features.shape[-1]
                out = allocate(shape, np.float32)
            skip = grid.overlap // multiple // 2
            down, right_of = (skip if start else 0 for start in (top, left))
            # A later tile overwrites what lies nearer to its own middle.
            out[
                top // multiple + down : -(-bottom // multiple),
                left // multiple + right_of : -(-right // multiple),
            ] = features[down:, right_of:]
            release(out)
    assert out is not None, "an image has pixels"
    return out


@dataclass(frozen=True)
class Pieces:
    """Equal pieces of features, which overlap.

    Attributes:
        rows: How they lie along the height.
        columns: How they lie along the width.
    """

    rows: Grid
    columns: Grid

    def spans(self, height: int, width: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Return rows and columns of all pieces, row by row.

        Args:
            height: Of the features.
            width: Of the features.
        """
        return [(r, c) for r in self.rows.spans(height) for c in self.columns.spans(width)]


def pieces_of(size: tuple[int, int], grid: Grid) -> Pieces | None:
    """Return the pieces that features are refined in; None where they are refined at once.

    They are as large as a pass may be, and as few positions as possible lie in several.

    Args:
        size: Height and width of the features.
        grid: Of the tiles; where these are small, memory is short, and so are the pieces.

    >>> pieces_of((500, 750), Grid(1024, 32)).spans(500, 750)
    [((0, 282), (0, 407)), ((0, 282), (343, 750)), ((218, 500), (0, 407)), ((218, 500), (343, 750))]
    """
    most = max(_POSITIONS * min(grid.tile / _OF_TILE, 1) ** 2, (2 * _OVERLAP) ** 2)
    height, width = size
    if height * width <= most:
        return None
    most_down, most_across = (max(-(-n // _OVERLAP) - 1, 1) for n in size)
    fitting = [
        (down, across)
        for down in range(1, most_down + 1)
        for across in range(1, most_across + 1)
        if _share(height, down) * _share(width, across) <= most
    ]
    down, across = min(
        fitting,
        key=lambda n: (n[0] * _share(height, n[0]) * n[1] * _share(width, n[1]), n),
    )
    return Pieces(
        Grid(_share(height, down), _OVERLAP, even=1), Grid(_share(width, across), _OVERLAP, even=1)
    )


def _share(length: int, number: int) -> int:
    """Return how long each of some overlapping pieces of a length is."""
    return max(-(-(length + (number - 1) * _OVERLAP) // number), 2 * _OVERLAP)


def refined(features: Array, grid: Grid, refine: Refine) -> Array:
    """Refine the features of a whole image, in pieces where it is large.

    Args:
        features: From `encoded`.
        grid: Of the tiles.
        refine: Maps rows and columns of a piece to its refined features, ``(1, h, w, f)``.

    Returns:
        The shape of `features`, float32; may be file-backed.
    """
    height, width, _ = features.shape
    pieces = pieces_of((height, width), grid)
    if pieces is None:
        return _array(refine((0, height), (0, width)))
    out = allocate(features.shape, np.float32)
    for rows, columns in pieces.spans(height, width):
        down = pieces.rows.weights(rows, height)[:, None, None]
        across = pieces.columns.weights(columns, width)[:, None]
        piece = _array(refine(rows, columns))
        piece *= down * across
        out[slice(*rows), slice(*columns)] += piece
        release(features)
        release(out)
    return out


def cut(latent: Array, rows: tuple[int, int], columns: tuple[int, int], multiple: int) -> Tensor:
    """Return the part of a whole latent that belongs to a tile, ``(1, h, w, f)``.

    Args:
        latent: From `refined`.
        rows: First and last (exclusive) row of the tile in pixels; the first a multiple.
        columns: Likewise.
        multiple: Pixels along the side of one position.
    """
    here = tuple(slice(a // multiple, -(-b // multiple)) for a, b in (rows, columns))
    part = torch.from_numpy(np.array(latent[here]))[None]
    release(latent)
    return part


def _array(features: Tensor) -> Array:
    return np.asarray(features[0].float().cpu().numpy())
