"""An image in tiles, each of which is encoded once: for the latent, and for its own restoration.

The statistics come from tiles as well: those nearest to where `spread_crops` would look pass the
encoder and the decoder together and record them; what the decoder gives is part of the result.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from unveil.errors import OutputError
from unveil.imaging.image import Array
from unveil.imaging.scratch import allocate, release
from unveil.inference import statistics
from unveil.inference.bottleneck import cut, encoded, refined
from unveil.inference.memory import available_bytes
from unveil.inference.padding import pad_to_multiple
from unveil.inference.sample_conversion import to_network
from unveil.inference.statistics import StatisticsCrop
from unveil.inference.tiles import Grid
from unveil.layers.statistics import GlobalStatistics
from unveil.models.base import RestorationModel

# Of the memory and of the disk that are free, for skips.
_SHARE_OF_ROOM = 0.5
# Largest value of a skip that is kept as it is; others are scaled.
_LARGEST = 6e4
# First row and column of a tile.
Corner = tuple[int, int]

_log = logging.getLogger(__name__)


class SkipStore:
    """Skips of an image's tiles as half-precision floats, on disk where they are many.

    Those for which there is no room are not kept: they have to be computed again.

    Args:
        tiles: Tiles of the image.
        shapes: Of a tile's skips, ``(1, h, w, c)`` each.
    """

    def __init__(self, tiles: int, shapes: list[torch.Size]) -> None:
        self._shapes, self._sizes = shapes, [prod(shape) for shape in shapes]
        size = sum(self._sizes)
        count = min(tiles, int(_room() * _SHARE_OF_ROOM) // (2 * size))
        try:
            self._data = allocate((count, size), np.float16)
        except OutputError as error:
            _log.info("some tiles are encoded twice: %s", error)
            self._data = np.zeros((0, size), np.float16)
        self._slots: dict[Corner, tuple[int, list[float]]] = {}

    def put(self, corner: Corner, skips: Iterable[Tensor]) -> None:
        """Keep a tile's skips, if there is room.

        Args:
            corner: First row and column of the tile.
            skips: From the encoder, ``(1, h, w, c)`` each, finest first.
        """
        slot = len(self._slots)
        if slot == len(self._data):
            return
        row = torch.from_numpy(self._data[slot])
        scales = []
        for part, skip in zip(torch.split(row, self._sizes), skips, strict=True):
            scales.append(scale_of(skip))
            part.copy_(skip.flatten() if scales[-1] == 1 else skip.flatten() / scales[-1])
        self._slots[corner] = slot, scales
        release(self._data)

    def get(self, corner: Corner) -> list[Tensor] | None:
        """Return a tile's skips, float32; None if they were not kept."""
        if corner not in self._slots:
            return None
        slot, scales = self._slots[corner]
        parts = torch.split(torch.from_numpy(self._data[slot]), self._sizes)
        skips = [
            part.float().mul_(scale).view(shape) if scale != 1 else part.float().view(shape)
            for part, scale, shape in zip(parts, scales, self._shapes, strict=True)
        ]
        release(self._data)
        return skips


def scale_of(skip: Tensor) -> float:
    """Return what a skip is divided by before it is kept in half precision.

    >>> scale_of(torch.tensor([-3.0, 2.0])), scale_of(torch.tensor([1.2e5]))
    (1.0, 2.0)
    """
    low, high = skip.aminmax()
    return max(1.0, float(torch.maximum(-low, high)) / _LARGEST)


def _room() -> int:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    memory = available_bytes(torch.device("cpu"))
    return free if memory is None else min(free, memory)


@dataclass
class SinglePass:
    """The way of an image's tiles through a network.

    All tiles are equally large: the last of a row or column begins earlier than its part of the
    result, which is cut out of it.

    Attributes:
        model: The network.
        device: Where it lies.
        pixels: ``(h, w, c)`` samples, c 1 or 3.
        grid: Of the tiles; it becomes an even one.
        recorder: Makes what records the statistics of samples that lie at given places, see
            `unveil.layers.statistics.GlobalStatistics`; None where the network has none.
        tick: Called after every tile that was encoded.
    """

    model: RestorationModel
    device: torch.device
    pixels: Array
    grid: Grid
    recorder: Callable[[Tensor | None], GlobalStatistics] | None
    tick: Callable[[], None]
    _context: GlobalStatistics | None = None
    _latent: Array | None = None
    _skips: SkipStore | None = None
    _features: dict[Corner, Tensor] = field(default_factory=dict)
    _changes: dict[Corner, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._size = self.pixels.shape[0], self.pixels.shape[1]
        self._multiple = self.model.size_multiple
        self._dtype = next(self.model.parameters()).dtype
        self.grid = replace(self.grid, even=self._multiple)
        rows, columns = (self.grid.spans(length) for length in self._size)
        # Where a tile lies, by where its part of the result begins.
        self._windows = {(r[0], c[0]): self._window(r, c) for r in rows for c in columns}

    @torch.inference_mode()
    def prepare(self) -> None:
        """Encode all tiles, refine the latent of the whole, decode the tiles that record."""
        samples = self._samples() if self.recorder else []
        recorder = None
        if self.recorder is not None:
            recorder = self.recorder(self._places([self._windows[corner] for corner in samples]))
            self._encode_together(samples, recorder)
            self._context = recorder.recorded()
        features = encoded(self._size, self.grid, self._multiple, self._encode)
        self._latent = refined(features, self.grid, self._refine(features))
        if recorder is not None:
            self._decode_together(samples, recorder)
            self._context = recorder.recorded()

    @torch.inference_mode()
    def change(self, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
        """Return what the network would change about a tile, ``(1, 3, h, w)``.

        Args:
            rows: Of the tile; as the grid has them.
            columns: Likewise.
        """
        corner = rows[0], columns[0]
        change = self._changes.pop(corner, None)
        if change is None:
            change = self.model.decode(self._cut(corner), self._skips_of(corner), self._context)
        top, left = self._lead(corner)
        return change[..., top : top + rows[1] - rows[0], left : left + columns[1] - columns[0]]

    def _encode(self, rows: slice, columns: slice) -> Tensor:
        corner = rows.start, columns.start
        features = self._features.pop(corner, None)
        if features is None:
            features, skips = self.model.encode(self._tile(corner), self._context)
            self._keep(corner, skips)
        self.tick()
        top, left = self._lead(corner)
        return features[:, top // self._multiple :, left // self._multiple :]

    def _encode_together(self, samples: list[Corner], recorder: GlobalStatistics) -> None:
        together = torch.cat([self._tile(corner) for corner in samples])
        features, skips = self.model.encode(together, recorder)
        for i, corner in enumerate(samples):
            self._features[corner] = features[i : i + 1].clone()
            self._keep(corner, [skip[i : i + 1] for skip in skips])

    def _decode_together(self, samples: list[Corner], recorder: GlobalStatistics) -> None:
        parts = [self._skips_of(corner) for corner in samples]
        skips = [torch.cat(level) for level in zip(*parts, strict=True)]
        del parts
        latents = torch.cat([self._cut(corner) for corner in samples])
        changes = self.model.decode(latents, skips, recorder)
        self._changes = {c: changes[i : i + 1].clone() for i, c in enumerate(samples)}

    def _refine(self, features: Array) -> Callable[[Tensor], Tensor]:
        whole = features.shape[:2]
        context = None

        def refine(part: Tensor) -> Tensor:
            nonlocal context
            if self.recorder is not None and part.shape[1:3] == whole:
                context = self.recorder(None)
            elif self.recorder is not None and context is None:
                context = self._latent_context(features)
            return self.model.refine_latent(part.to(self.device, self._dtype), context)

        return refine

    def _latent_context(self, features: Array) -> GlobalStatistics:
        """Gather the latent's statistics, for pieces of it, in windows spread over all of it."""
        assert self.recorder is not None, "there are statistics"
        parts = statistics.spread_crops(*self._size, statistics.SIDE, self._multiple)
        recorder = self.recorder(self._places(parts))
        together = torch.cat([self._features_in(features, part) for part in parts])
        self.model.refine_latent(together, recorder)
        return recorder.recorded()

    def _samples(self) -> list[Corner]:
        """Choose the tiles nearest to where the statistics of an image would be gathered."""
        side = max(max(w.height, w.width) for w in self._windows.values())
        wanted = statistics.spread_crops(*self._size, side, self._multiple)

        def distance(corner: Corner, window: StatisticsCrop) -> int:
            tile = self._windows[corner]
            down = 2 * (tile.top - window.top) + tile.height - window.height
            across = 2 * (tile.left - window.left) + tile.width - window.width
            return abs(down) + abs(across)

        return sorted({min(self._windows, key=lambda c: distance(c, w)) for w in wanted})

    def _places(self, parts: list[StatisticsCrop]) -> Tensor:
        return torch.tensor([part.place(*self._size) for part in parts], device=self.device)

    def _window(self, rows: tuple[int, int], columns: tuple[int, int]) -> StatisticsCrop:
        spans = []
        for (_, end), length in zip((rows, columns), self._size, strict=True):
            tile = self.grid.spans(length)[0][1]
            tile += -tile % self._multiple
            fill = -length % self._multiple if end == length else 0
            spans.append((max(end + fill - tile, 0), min(tile, end)))
        (top, height), (left, width) = spans
        return StatisticsCrop(
            top, left, min(height, self._size[0] - top), min(width, self._size[1] - left)
        )

    def _lead(self, corner: Corner) -> tuple[int, int]:
        window = self._windows[corner]
        return corner[0] - window.top, corner[1] - window.left

    def _tile(self, corner: Corner) -> Tensor:
        tile = to_network(self._windows[corner].cut(self.pixels, 1))
        release(self.pixels)
        return pad_to_multiple(tile.to(self.device, self._dtype), self._multiple)

    def _cut(self, corner: Corner) -> Tensor:
        assert self._latent is not None, "the image was prepared"
        return self._features_in(self._latent, self._windows[corner])

    def _features_in(self, features: Array, part: StatisticsCrop) -> Tensor:
        rows, columns = (part.top, part.top + part.height), (part.left, part.left + part.width)
        return cut(features, rows, columns, self._multiple).to(self.device, self._dtype)

    def _keep(self, corner: Corner, skips: list[Tensor]) -> None:
        if self._skips is None:
            self._skips = SkipStore(len(self._windows), [skip.shape for skip in skips])
        self._skips.put(corner, skips)

    def _skips_of(self, corner: Corner) -> list[Tensor]:
        assert self._skips is not None, "the image was prepared"
        skips = self._skips.get(corner)
        if skips is None:
            # As those that are kept: which ones these are must not be seen in the result.
            computed = self.model.encode(self._tile(corner), self._context)[1]
            skips = [(s / scale_of(s)).half().float() * scale_of(s) for s in computed]
        return [skip.to(self.device, self._dtype) for skip in skips]
