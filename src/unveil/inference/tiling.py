"""Restore pixels of any size, in one of three ways.

- Whole: one `NetworkPass`.
- In tiles that wait for each other at every layer that looks at the whole image: `SinglePass`.
- In tiles that are given what the whole image says, gathered before: a `NetworkPass` for each.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from unveil.errors import InputError
from unveil.imaging.convert import add_residual
from unveil.imaging.image import Array
from unveil.imaging.scratch import release
from unveil.inference import statistics
from unveil.inference.bottleneck import cut
from unveil.inference.grid_choice import GridChoice
from unveil.inference.network_pass import NetworkPass, Tick, finite, has_statistics
from unveil.inference.sample_conversion import is_gray, to_network, to_residual
from unveil.inference.single_pass import SinglePass
from unveil.inference.strength import Strength
from unveil.inference.tiles import Grid
from unveil.layers.statistics import GlobalStatistics
from unveil.models.record import Tiling
from unveil.models.unet import UNet

Progress = Callable[[float], None]
Write = Callable[[slice, Array], None]

# Of the time an image in tiles takes, spent on the latent of the whole.
_LATENT_SHARE = 0.3


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
        tiles: In how many parts the last image was done.
    """

    model: nn.Module
    device: torch.device
    tiling: Tiling = field(default_factory=Tiling)
    forced: bool = False
    strength: Strength = field(default_factory=Strength)
    ensemble: bool = False
    conditioning: dict[str, Tensor] = field(default_factory=dict)
    tiles: int = field(default=0, init=False)

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
        height, width, channels = pixels.shape
        given = pixels[..., :1] if is_gray(pixels) else pixels

        def all_channels(rows: slice, residual: Array) -> None:
            write(rows, np.broadcast_to(residual, (*residual.shape[:2], channels)))

        self.choice.within_memory(
            height, width, lambda grid: self._strips_in(grid, given, all_channels, progress)
        )

    def _strips_in(
        self, grid: Grid | None, pixels: Array, write: Write, progress: Progress
    ) -> None:
        height, width, channels = pixels.shape
        whole = grid is None or (height <= grid.tile and width <= grid.tile)
        done = 0.0

        def tick() -> None:
            progress(done)

        self.tiles = 1
        if grid is None or whole:
            network = self._network(tick)
            change = network.change(to_network(pixels), self._shared_statistics(network, pixels))
            write(slice(0, height), to_residual(change, channels))
            progress(1.0)
            return
        share, steps = self._preparation()
        self.tiles = len(grid.tiles(height, width))
        passes = self.tiles * steps

        def stepped() -> None:
            nonlocal done
            done = max(done, min(done + share / passes, share))
            tick()

        grid, change_of = self._prepared(pixels, grid, tick, stepped)
        rows, columns = grid.spans(height), grid.spans(width)
        carried = np.zeros((0, width, channels), np.float32)
        for i, (top, bottom) in enumerate(rows):
            strip = np.zeros((bottom - top, width, channels), np.float32)
            strip[: len(carried)] = carried
            down = grid.weights((top, bottom), height)[:, None, None]
            for j, (left, right) in enumerate(columns):
                residual = to_residual(change_of((top, bottom), (left, right)), channels)
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
            steps = cast("UNet", self.model).pauses + 1
            return steps / (steps + 1), steps
        return (_LATENT_SHARE if self.tiling.whole_latent else 0.0), len(self._network().transforms)

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
            model = cast("UNet", self.model)
            once = SinglePass(model, pixels, grid, self.conditioning, stepped)
            once.prepare()
            return once.grid, lambda rows, columns: finite(once.change(rows, columns))
        network, tiling = self._network(tick), self.tiling
        shared = self._shared_statistics(network, pixels, grid)
        latents: list[Array] = []
        if tiling.whole_latent:
            latents = replace(network, tick=stepped).latents(
                pixels, grid, shared, trained_on_crops=tiling.window is not None
            )

        def change(rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
            given = to_network(pixels[slice(*rows), slice(*columns)])
            seen = [cut(whole, rows, columns, network.multiple) for whole in latents]
            return network.change(given, shared, seen)

        return grid, change

    @property
    def _runs_once(self) -> bool:
        """Whether tiles wait for each other where the statistics of the whole are needed."""
        fits = self.tiling.whole_latent and self.tiling.window is None
        return fits and not self.ensemble and bool(getattr(self.model, "runs_in_parts", False))

    def collect_statistics(self, pixels: Array) -> GlobalStatistics:
        """Gather the image-wide statistics of ``(h, w, c)`` samples, at most a whole image's worth.

        Raises:
            InputError: If the network has none, or as `restore`.
        """
        if not has_statistics(self.model):
            raise InputError(f"{type(self.model).__name__} gathers no image-wide statistics")
        height, width, _ = pixels.shape
        network = NetworkPass(self.model, self.device)

        def gathered(grid: Grid | None) -> GlobalStatistics:
            side = max(height, width) if grid is None else statistics.SIDE
            return network.statistics(pixels, side, grid)[0]

        return self.choice.within_memory(height, width, gathered)

    def _shared_statistics(
        self, network: NetworkPass, pixels: Array, grid: Grid | None = None
    ) -> list[GlobalStatistics] | None:
        """Gather the image's statistics, once per transform; None leaves it to the pass.

        Args:
            network: How it is run.
            pixels: The image.
            grid: Of the tiles; None where it is restored whole.
        """
        window = self.tiling.window
        small = grid is None and (window is None or max(pixels.shape[:2]) <= window)
        if small or not has_statistics(self.model):
            return None
        return network.statistics(pixels, window or statistics.SIDE, grid)

    def _network(self, tick: Tick = lambda: None) -> NetworkPass:
        return NetworkPass(self.model, self.device, self.ensemble, self.conditioning, tick)

    @property
    def choice(self) -> GridChoice:
        """What decides on tiles."""
        return GridChoice(self.model, self.device, self.tiling, self.forced)
