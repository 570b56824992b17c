"""Where tiles lie, and how much each counts where two meet."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Grid:
    """Fixed tiles with a fixed overlap; the last of a row or column is what is left.

    Tiles start at multiples of ``tile - overlap``, which is a multiple of the network's size
    multiple: a pixel falls on the same place of the network's coarse grids as in the whole image.

    Attributes:
        tile: Side of a tile in pixels.
        overlap: Pixels that neighbours share.
        even: If above 0, the tiles along an axis are about equally long: a multiple of this, and at
            most `tile`. It is a multiple of the network's size multiple.
    """

    tile: int
    overlap: int
    even: int = 0

    def spans(self, length: int) -> list[tuple[int, int]]:
        """Return start and end of the tiles along an axis of `length` pixels.

        >>> Grid(8, 2).spans(15)
        [(0, 8), (6, 14), (12, 15)]
        >>> Grid(8, 2, even=1).spans(15)
        [(0, 7), (5, 12), (10, 15)]
        """
        tile, stride = self.tile, self.tile - self.overlap
        if self.even:
            number = -(-max(length - self.overlap, 1) // stride)
            share = -(-(length + (number - 1) * self.overlap) // number)
            tile = min(share + -share % self.even, tile)
        # An axis may be shorter than the overlap.
        starts = range(0, max(length - self.overlap, 1), max(tile - self.overlap, 1))
        return [(start, min(start + tile, length)) for start in starts]

    def tiles(self, height: int, width: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Return rows and columns of all tiles, row by row.

        Args:
            height: Of the image.
            width: Of the image.

        >>> Grid(8, 2).tiles(8, 12)
        [((0, 8), (0, 8)), ((0, 8), (6, 12))]
        """
        return [(rows, columns) for rows in self.spans(height) for columns in self.spans(width)]

    def weights(self, span: tuple[int, int], length: int) -> npt.NDArray[np.float32]:
        """Return the weight of each pixel of a tile along one axis; neighbours sum to 1.

        Weights rise over the middle half of an overlap: the outermost pixels of a tile, which lack
        their surroundings, do not count.

        Args:
            span: Start and end of the tile in pixels.
            length: Of the image along this axis.
        """
        start, end = span
        out = np.ones(end - start, np.float32)
        ramp = self._ramp()
        if start > 0:
            out[: self.overlap] = ramp
        if end < length:
            out[-self.overlap :] = 1 - ramp if self.overlap else 1
        return out

    def _ramp(self) -> npt.NDArray[np.float32]:
        position = (np.arange(self.overlap, dtype=np.float32) + 0.5) / max(self.overlap, 1)
        return np.clip(2 * position - 0.5, 0, 1)


def fitted_grid(tile: int, overlap: int, multiple: int) -> Grid:
    """Return the grid nearest to what is wanted that fits a network's size multiple.

    Args:
        tile: Wanted side of a tile; rounded up to a multiple.
        overlap: Wanted overlap; at most a quarter of the tile.
        multiple: The network's size multiple.

    >>> fitted_grid(100, 64, 8)
    Grid(tile=104, overlap=24, even=0)
    """
    tile = -(-tile // multiple) * multiple
    return Grid(tile, min(overlap, tile // 4) // multiple * multiple)
