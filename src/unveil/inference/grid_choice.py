"""The tiles of an image: of the size in the network's record, smaller where memory is short."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from unveil.bounded import SMALLEST_TILE
from unveil.errors import InputError
from unveil.inference import statistics
from unveil.inference.memory import available_bytes, bytes_per_pixel, is_out_of_memory
from unveil.inference.network_pass import has_statistics, size_multiple
from unveil.inference.tiles import Grid, fitted_grid
from unveil.models.record import Tiling

Result = TypeVar("Result")

_log = logging.getLogger(__name__)
# More than any network here takes; what a network really takes is measured only beyond this.
_AMPLE_BYTES_PER_PIXEL = 8192


@dataclass(frozen=True)
class GridChoice:
    """What decides on tiles.

    Attributes:
        model: The network.
        device: Where it lies.
        tiling: When and how images are cut.
        forced: Whether the user asked for this tiling, so that it is kept or fails.
    """

    model: nn.Module
    device: torch.device
    tiling: Tiling
    forced: bool

    def within_memory(
        self, height: int, width: int, act: Callable[[Grid | None], Result]
    ) -> Result:
        """Return what `act` makes of a grid, of a smaller one whenever memory runs out.

        Args:
            height: Of the image.
            width: Of the image.
            act: Given None for the whole image at once; called again after it ran out of memory.

        Raises:
            InputError: Memory does not suffice for the tiles asked for, or for the smallest.
        """
        grid = self.first(height, width)
        while True:
            try:
                return act(grid)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                grid = self._smaller(grid, height * width)

    def first(self, height: int, width: int) -> Grid | None:
        """Choose the grid from the size alone, unless memory is known to be too short for it.

        Args:
            height: Of the image.
            width: Of the image.

        Returns:
            The grid; None where the image is restored whole.
        """
        tiling = self.tiling
        whole = height * width <= tiling.whole_megapixels * 1e6
        grid = None if whole else self._fitted(tiling.tile)
        room = None if self.forced else available_bytes(self.device)
        while room is not None and self._needs(grid, height * width, room) > room:
            if height * width <= SMALLEST_TILE**2 or (grid and grid.tile // 2 < SMALLEST_TILE):
                break
            grid = self._smaller(grid, height * width)
        return grid

    def _fitted(self, side: int) -> Grid:
        return fitted_grid(side, self.tiling.overlap, size_multiple(self.model))

    def _needs(self, grid: Grid | None, pixels: int, room: int) -> float:
        count = pixels
        if grid is not None:
            crops = statistics.most_at_once(grid) if has_statistics(self.model) else 0
            count = min(max(crops, grid.tile**2), pixels)
        if count * _AMPLE_BYTES_PER_PIXEL <= room:
            return 0.0
        return count * bytes_per_pixel(self.model, self.device)

    def _smaller(self, grid: Grid | None, pixels: int) -> Grid:
        if self.forced:
            size = "the whole image" if grid is None else f"tiles of {grid.tile} pixels"
            raise InputError(f"not enough memory for {size}; give a smaller --tile, or auto")
        side = self.tiling.tile if grid is None else grid.tile // 2
        while grid is None and side * side >= pixels:
            side //= 2
        if side < SMALLEST_TILE:
            raise InputError("not enough memory even for the smallest tiles; close other programs")
        smaller = self._fitted(side)
        _log.warning("memory is short: going on in tiles of %d pixels", smaller.tile)
        return smaller
