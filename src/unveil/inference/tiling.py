"""Restore pixels of any size: whole, or tile by tile with shared image-wide statistics."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from unveil.bounded import SMALLEST_TILE
from unveil.errors import InputError
from unveil.imaging.convert import add_residual
from unveil.imaging.image import Array
from unveil.imaging.scratch import release
from unveil.inference import statistics
from unveil.inference.bottleneck import cut, encoded, refined
from unveil.inference.memory import available_bytes, bytes_per_pixel, is_out_of_memory
from unveil.inference.once import SinglePass
from unveil.inference.padding import pad_to_multiple
from unveil.inference.sample_conversion import is_gray, to_network, to_residual
from unveil.inference.self_ensemble import (
    COUNT,
    restored_feature_orientation,
    restored_orientation,
    transformed,
    transformed_features,
)
from unveil.inference.statistics import ConditionedStatistics, gather_statistics
from unveil.inference.strength import Strength
from unveil.inference.tiles import Grid, fitted_grid
from unveil.layers.statistics import GlobalStatistics
from unveil.models.base import RestorationModel
from unveil.models.record import Tiling

Progress = Callable[[float], None]
Write = Callable[[slice, Array], None]
# Called after every pass of the network, for progress and cancelling.
Tick = Callable[[], None]
Result = TypeVar("Result")

_log = logging.getLogger(__name__)
# Statistics are gathered from so many crops in one pass.
_CROPS_AT_ONCE = 4
# Of the time an image in tiles takes, spent on the latent of the whole.
_LATENT_SHARE = 0.3
# More than any network here takes; what a network really takes is measured only beyond this.
_AMPLE_BYTES_PER_PIXEL = 8192


def _nothing() -> None:
    pass


@dataclass
class TiledInference:
    """A network with everything that decides what it makes of an image.

    Attributes:
        model: Maps ``(b, 3, h, w)`` to the same shape.
        device: Where it lies.
        tiling: When and how images are cut.
        forced: Whether the user asked for this tiling, so that it is kept or fails.
        strength: Share of the network's change that is applied.
        ensemble: Average over the 8 flips and rotations.
        conditioning: Statistics, by layer, that replace the image's own.
        together: Whether tiles wait for each other where the statistics of the whole are needed, if
            the network can; else these are gathered from crops.
    """

    model: nn.Module
    device: torch.device
    tiling: Tiling = field(default_factory=Tiling)
    forced: bool = False
    strength: Strength = field(default_factory=Strength)
    ensemble: bool = False
    conditioning: dict[str, Tensor] = field(default_factory=dict)
    together: bool = True
    _bytes_per_pixel: float | None = None

    def restore(self, pixels: Array, out: Array, progress: Progress | None = None) -> None:
        """Restore ``(h, w, c)`` samples, c 1 or 3, into `out`.

        Args:
            pixels: uint8, uint16 or floating point.
            out: Same shape and type; may be file-backed.
            progress: Called after every pass of the network with the share that is done; what it
                raises ends the work.

        Raises:
            InputError: If memory does not suffice even for the smallest tile, or for the tiling
                that was asked for; if the network gives another size, or no numbers.
        """

        def blend(window: slice, residual: Array) -> None:
            add_residual(pixels[window], self.strength.scaled(residual), out[window])
            release(out)

        self._each_strip(pixels, blend, progress or (lambda _: None))

    def change(self, pixels: Array, out: Array, progress: Progress | None = None) -> None:
        """Write what the network would change, at full strength, into `out`.

        `add_residual` of what `Strength.scaled` makes of it gives what `restore` gives.

        Args:
            pixels: ``(h, w, c)``, as for `restore`.
            out: Same shape, float32, where 1.0 is full scale; may be file-backed.
            progress: Called with the share that is done.

        Raises:
            InputError: As `restore`.
        """

        def keep(window: slice, residual: Array) -> None:
            out[window] = residual
            release(out)

        self._each_strip(pixels, keep, progress or (lambda _: None))

    def _each_strip(self, pixels: Array, write: Write, progress: Progress) -> None:
        """Pass each strip's rows and residual to `write`; from the top again in smaller tiles.

        An image whose channels are all equal is gray: its residual is the same for all of them.
        """
        shape = pixels.shape
        given = pixels[..., :1] if is_gray(pixels) else pixels

        def all_channels(rows: slice, residual: Array) -> None:
            write(rows, np.broadcast_to(residual, (*residual.shape[:2], shape[2])))

        self._within_memory(
            pixels, lambda grid: self._strips_in(grid, given, all_channels, progress)
        )

    def _within_memory(self, pixels: Array, act: Callable[[Grid | None], Result]) -> Result:
        """Return what `act` makes of a grid, of a smaller one whenever memory runs out."""
        height, width, _ = pixels.shape
        grid = self._grid(height, width)
        while True:
            try:
                return act(grid)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                grid = self._smaller(grid, height * width)

    def _grid(self, height: int, width: int) -> Grid | None:
        """Choose the grid from the size alone, unless memory is known to be too short for it."""
        tiling = self.tiling
        whole = height * width <= tiling.whole_megapixels * 1e6
        grid = None if whole else fitted_grid(tiling.tile, tiling.overlap, self._multiple)
        room = None if self.forced else available_bytes(self.device)
        while room is not None and self._needs(grid, height * width, room) > room:
            if height * width <= SMALLEST_TILE**2 or (grid and grid.tile // 2 < SMALLEST_TILE):
                break
            grid = self._smaller(grid, height * width)
        return grid

    def _needs(self, grid: Grid | None, pixels: int, room: int) -> float:
        count = pixels
        if grid is not None:
            crops = self._pixels_at_once(grid) if self._has_statistics else 0
            count = min(max(crops, grid.tile**2), pixels)
        if count * _AMPLE_BYTES_PER_PIXEL <= room:
            return 0.0
        if self._bytes_per_pixel is None:
            self._bytes_per_pixel = bytes_per_pixel(self.model, self.device)
        return count * self._bytes_per_pixel

    def _smaller(self, grid: Grid | None, pixels: int) -> Grid:
        if self.forced:
            size = "the whole image" if grid is None else f"tiles of {grid.tile} pixels"
            raise InputError(f"not enough memory for {size}; give a smaller --tile, or auto")
        side = self.tiling.tile if grid is None else grid.tile // 2
        while grid is None and side * side >= pixels:
            side //= 2
        if side < SMALLEST_TILE:
            raise InputError("not enough memory even for the smallest tiles; close other programs")
        smaller = fitted_grid(side, self.tiling.overlap, self._multiple)
        _log.warning("memory is short: going on in tiles of %d pixels", smaller.tile)
        return smaller

    def _strips_in(
        self, grid: Grid | None, pixels: Array, write: Write, progress: Progress
    ) -> None:
        height, width, channels = pixels.shape
        whole = grid is None or (height <= grid.tile and width <= grid.tile)
        done = 0.0

        def tick() -> None:
            progress(done)

        if grid is None or whole:
            shared = self._shared_statistics(pixels, None, tick)
            given = to_network(pixels)
            write(slice(0, height), to_residual(self._change(given, shared, tick), channels))
            progress(1.0)
            return
        share, steps = self._preparation()
        passes = len(grid.tiles(height, width)) * steps

        def stepped() -> None:
            nonlocal done
            done = max(done, min(done + share / passes, share))
            tick()

        grid, change = self._prepared(pixels, grid, tick, stepped)
        rows, columns = grid.spans(height), grid.spans(width)
        carried = np.zeros((0, width, channels), np.float32)
        for i, (top, bottom) in enumerate(rows):
            strip = np.zeros((bottom - top, width, channels), np.float32)
            strip[: len(carried)] = carried
            down = grid.weights((top, bottom), height)[:, None, None]
            for j, (left, right) in enumerate(columns):
                residual = to_residual(change((top, bottom), (left, right)), channels)
                across = grid.weights((left, right), width)[:, None]
                strip[:, left:right] += down * across * residual
                release(pixels)
                part = (i * len(columns) + j + 1) / (len(rows) * len(columns))
                done = share + (1 - share) * part
                tick()
            ready = rows[i + 1][0] - top if i + 1 < len(rows) else bottom - top
            write(slice(top, top + ready), strip[:ready])
            carried = strip[ready:]

    def _preparation(self) -> tuple[float, int]:
        """Return which share of the work precedes the first result, and its steps per tile."""
        if self._runs_once:
            steps = cast("RestorationModel", self.model).pauses + 1
            return steps / (steps + 1), steps
        return (_LATENT_SHARE if self.tiling.whole_latent else 0.0), len(self._transforms)

    def _prepared(
        self, pixels: Array, grid: Grid, tick: Tick, stepped: Tick
    ) -> tuple[Grid, Callable[[tuple[int, int], tuple[int, int]], Tensor]]:
        """Return the tiles, and what gives the network's change in rows and columns of one.

        Args:
            pixels: The image.
            grid: Of the tiles.
            tick: Called after every pass.
            stepped: Called after every step of a tile that precedes its result.
        """
        if self._runs_once:
            model = cast("RestorationModel", self.model)
            once = SinglePass(model, pixels, grid, self.conditioning, stepped)
            once.prepare()
            return once.grid, lambda rows, columns: _finite(once.change(rows, columns))
        shared = self._shared_statistics(pixels, grid, tick)
        latents = self._latents(pixels, grid, shared, stepped)

        def change(rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
            given = to_network(pixels[slice(*rows), slice(*columns)])
            seen = [cut(whole, rows, columns, self._multiple) for whole in latents]
            return self._change(given, shared, tick, seen)

        return grid, change

    @property
    def _runs_once(self) -> bool:
        """Whether tiles wait for each other where the statistics of the whole are needed."""
        tiling = self.tiling
        asked = self.together and tiling.whole_latent and tiling.window is None
        return asked and not self.ensemble and bool(getattr(self.model, "runs_in_parts", False))

    def _latents(
        self, pixels: Array, grid: Grid, shared: list[GlobalStatistics] | None, tick: Tick
    ) -> list[Array]:
        """Return the whole image's latent per number; none where every tile makes its own.

        `tick` is called after every encoded tile.
        """
        if not self.tiling.whole_latent:
            return []
        model = cast("RestorationModel", self.model)
        dtype = next(model.parameters()).dtype
        size = tuple(-(-side // self._multiple) for side in pixels.shape[:2])

        def latent_of(number: int) -> Array:
            image_statistics = shared[number] if shared else None

            def encode(rows: slice, columns: slice) -> Tensor:
                tile = to_network(pixels[rows, columns]).to(self.device, dtype)
                release(pixels)
                padded = pad_to_multiple(tile, self._multiple)
                features = model.encode(transformed(padded, number), image_statistics)[0]
                tick()
                return restored_feature_orientation(features, number)

            def refine(features: Tensor) -> Tensor:
                turned = transformed_features(features.to(self.device, dtype), number)
                # What is the whole image needs no statistics gathered elsewhere.
                whole = self.tiling.window is None and features.shape[1:3] == size
                seen = self._conditioned_statistics() if whole else image_statistics
                return restored_feature_orientation(model.refine_latent(turned, seen), number)

            whole = encoded((pixels.shape[0], pixels.shape[1]), grid, self._multiple, encode)
            return refined(whole, grid, lambda rows, columns: refine(cut(whole, rows, columns, 1)))

        with torch.inference_mode():
            return [latent_of(number) for number in self._transforms]

    def _change(
        self,
        given: Tensor,
        shared: list[GlobalStatistics] | None,
        tick: Tick,
        latents: list[Tensor] | None = None,
    ) -> Tensor:
        """Return what the network would change about ``(1, 3, h, w)``; tick between passes."""
        height, width = given.shape[-2:]
        # Before it is transformed: else its places on the coarse grids would differ.
        given = pad_to_multiple(given.to(self.device), self._multiple)
        with torch.inference_mode():
            total = torch.zeros_like(given)
            for number in self._transforms:
                image_statistics = shared[number] if shared else self._conditioned_statistics()
                seen = transformed(given, number)
                if number:
                    tick()
                latent = None
                if latents:
                    latent = transformed_features(latents[number].to(self.device), number)
                total += restored_orientation(
                    self._residual(seen, image_statistics, latent), number
                )
            return _finite(total[..., :height, :width]) / len(self._transforms)

    def _residual(
        self, x: Tensor, image_statistics: GlobalStatistics | None, latent: Tensor | None
    ) -> Tensor:
        """Return the residual of padded images; of other networks, their result minus the image."""
        if isinstance(self.model, RestorationModel):
            return self.model.residual(x, image_statistics, latent)
        given = {"context": image_statistics, "latent": latent}
        known = {name: value for name, value in given.items() if value is not None}
        restored = torch.as_tensor(self.model(x, **known))
        if restored.shape != x.shape:
            raise InputError(
                f"the network makes {tuple(restored.shape)} of {tuple(x.shape)}; expected one "
                "that keeps the size"
            )
        return restored - x

    def _conditioned_statistics(self) -> GlobalStatistics | None:
        return ConditionedStatistics(self.conditioning) if self.conditioning else None

    def collect_statistics(self, pixels: Array) -> GlobalStatistics:
        """Gather the image-wide statistics of ``(h, w, c)`` samples, at most a whole image's worth.

        Raises:
            InputError: If the network has none, or as `restore`.
        """
        if not self._has_statistics:
            raise InputError(f"{type(self.model).__name__} gathers no image-wide statistics")

        def gathered(grid: Grid | None) -> GlobalStatistics:
            side = max(pixels.shape[:2]) if grid is None else statistics.SIDE
            return self._gathered(pixels, side, grid)[0]

        return self._within_memory(pixels, gathered)

    def _shared_statistics(
        self, pixels: Array, grid: Grid | None, tick: Tick = _nothing
    ) -> list[GlobalStatistics] | None:
        """Gather the image's statistics, once per transform; None leaves it to the pass.

        Args:
            pixels: The image.
            grid: Of the tiles; None where it is restored whole.
            tick: Called after every pass.
        """
        window = self.tiling.window
        small = grid is None and (window is None or max(pixels.shape[:2]) <= window)
        if small or not self._has_statistics:
            return None
        side = window or statistics.SIDE
        return self._gathered(pixels, side, grid, self._transforms, self.conditioning, tick)

    def _gathered(
        self,
        pixels: Array,
        side: int,
        grid: Grid | None,
        transforms: range = range(1),
        given: dict[str, Tensor] | None = None,
        tick: Tick = _nothing,
    ) -> list[GlobalStatistics]:
        """Gather from crops of `side`, no larger than a tile, as many at once as a pass holds."""

        def run(samples: Tensor, recorder: GlobalStatistics) -> None:
            if recorder.places is not None:
                recorder.places = recorder.places.to(self.device)
            self._residual(samples.to(self.device), recorder, None)
            tick()

        return gather_statistics(
            run,
            pixels,
            side=side if grid is None else min(side, grid.tile),
            multiple=self._multiple,
            most_pixels=None if grid is None else self._pixels_at_once(grid),
            transforms=transforms,
            given=given or {},
        )

    @staticmethod
    def _pixels_at_once(grid: Grid) -> int:
        """Return how many pixels a pass takes that gathers statistics."""
        return _CROPS_AT_ONCE * min(statistics.SIDE, grid.tile) ** 2

    @property
    def _transforms(self) -> range:
        return range(COUNT) if self.ensemble else range(1)

    @property
    def _has_statistics(self) -> bool:
        return bool(getattr(self.model, "has_statistics", False))

    @property
    def _multiple(self) -> int:
        return int(getattr(self.model, "size_multiple", 1))


def _finite(change: Tensor) -> Tensor:
    if not math.isfinite(change.sum().item()):
        raise InputError(
            "the network's result holds values that are no numbers: its weights are "
            "damaged, or were trained until they broke; take others"
        )
    return change
