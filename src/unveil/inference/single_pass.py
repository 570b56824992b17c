"""An image in tiles, each of which is computed once, with the statistics of the whole image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from unveil.imaging.image import Array
from unveil.imaging.scratch import release
from unveil.inference.bottleneck import cut, encoded, pieces_of, refined
from unveil.inference.padding import pad_to_multiple
from unveil.inference.sample_conversion import to_network
from unveil.inference.statistics import ConditionedStatistics, StatisticsCrop
from unveil.inference.tile_passes import TilePass, TilePasses, replay, tile_parts
from unveil.inference.tile_store import Corner, TileStore, rounded
from unveil.inference.tiles import Grid
from unveil.layers.statistics import AccumulatedStatistics
from unveil.models.unet import UNet

Span = tuple[int, int]

# What waits lies in memory while it takes no more bytes, of waiting tiles and of each level's
# skips: up to 5 megapixels. Files cost a tenth of the time, in copies to the system's cache.
_WAITING, _OF_SKIPS = 256 * 2**20, 128 * 2**20


@dataclass
class SinglePass:
    """The way of an image's tiles through a network.

    All tiles are equally large: the last of a row or column begins earlier than its part of the
    result, which is cut out of it.

    Attributes:
        model: The network; it runs in parts.
        pixels: ``(h, w, c)`` samples, c 1 or 3.
        grid: Of the tiles; it becomes an even one.
        conditioning: Statistics, by layer, that replace the image's own.
        tick: Called after every step of a tile.
        statistics: Of the image, once it is prepared; of the latent only where that is in pieces.
    """

    model: UNet
    pixels: Array
    grid: Grid
    conditioning: Mapping[str, Tensor]
    tick: Callable[[], None]
    statistics: AccumulatedStatistics = field(init=False)
    _latent: Array | None = None
    _decoding: TilePasses | None = None
    _skips: dict[int, TileStore] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._size = self.pixels.shape[0], self.pixels.shape[1]
        self._multiple = self.model.size_multiple
        self._like = next(self.model.parameters())
        self.grid = replace(self.grid, even=self._multiple)
        self.statistics = AccumulatedStatistics(self.conditioning)
        # Where a tile lies, by where its part of the result begins.
        self._windows = {(r[0], c[0]): self._window(r, c) for r, c in self.grid.tiles(*self._size)}
        self._store = TileStore(len(self._windows), _WAITING)
        height, width = (side + -side % self._multiple for side in self._size)
        # Tiles meet where the latent's features of one end and those of the next begin.
        skip = self.grid.overlap // self._multiple // 2 * self._multiple
        spans = {corner: self._spans(corner) for corner in self._windows}
        self._parts = tile_parts(spans, (height, width), skip)

    @torch.inference_mode()
    def prepare(self) -> None:
        """Encode all tiles, refine the latent of the whole, decode until no tile has to wait."""
        encoding = self._passes(self._encoding)
        encoding.run()

        def features_of(rows: slice, columns: slice) -> Tensor:
            corner = rows.start, columns.start
            top, left = self._lead(corner)
            features = encoding.result(corner)
            return features[:, top // self._multiple :, left // self._multiple :]

        features = encoded(self._size, self.grid, self._multiple, features_of)
        self.statistics.finish()
        self._latent = self._refined(features)
        self._decoding = self._passes(self._decoding_of)
        self._decoding.run()

    @torch.inference_mode()
    def change(self, rows: Span, columns: Span) -> Tensor:
        """Return what the network would change about a tile, ``(1, 3, h, w)``; once per tile.

        Args:
            rows: Of the tile; as the grid has them.
            columns: Likewise.
        """
        assert self._decoding is not None, "the image was prepared"
        corner = rows[0], columns[0]
        change = self._decoding.result(corner)
        top, left = self._lead(corner)
        return change[..., top : top + rows[1] - rows[0], left : left + columns[1] - columns[0]]

    def _passes(self, begin: Callable[[Corner], TilePass]) -> TilePasses:
        return TilePasses(begin, self._parts, self.statistics, self._store, self._like, self.tick)

    def _encoding(self, corner: Corner) -> TilePass:
        held, skips = [self._tile(corner)], _KeptSkips(self, corner, 0)
        return held, self.model.encode_in_parts(held, skips, self.statistics)

    def _decoding_of(self, corner: Corner) -> TilePass:
        assert self._latent is not None, "the latent was refined"
        rows, columns = self._spans(corner)
        held = [cut(self._latent, rows, columns, self._multiple).to(self._like)]
        skips = _KeptSkips(self, corner, len(self._skips))
        return held, self.model.decode_in_parts(held, skips, self.statistics)

    def _refined(self, features: Array) -> Array:
        """Refine the latent at once, or in pieces that share the statistics of the whole."""
        height, width, _ = features.shape
        pieces = pieces_of((height, width), self.grid)
        if pieces is None:
            given = ConditionedStatistics(self.conditioning)

            def refine(rows: Span, columns: Span) -> Tensor:
                return self.model.refine_latent(self._piece(features, rows, columns), given)

            return refined(features, self.grid, refine)
        spans = {(r[0], c[0]): (r, c) for r, c in pieces.spans(height, width)}

        def begin(corner: Corner) -> TilePass:
            held = [self._piece(features, *spans[corner])]
            return held, self.model.refine_latent_in_parts(held, self.statistics)

        parts = tile_parts(spans, (height, width), pieces.rows.overlap // 2)
        store = TileStore(len(parts), _WAITING)
        passes = TilePasses(begin, parts, self.statistics, store, self._like, self.tick)
        passes.run()
        return refined(features, self.grid, lambda r, c: passes.result((r[0], c[0])))

    def _piece(self, features: Array, rows: Span, columns: Span) -> Tensor:
        return cut(features, rows, columns, 1).to(self._like)

    def _spans(self, corner: Corner) -> tuple[Span, Span]:
        """Return first and last rows and columns of a tile, filled up to multiples."""
        window = self._windows[corner]
        height, width = (n + -n % self._multiple for n in (window.height, window.width))
        return (window.top, window.top + height), (window.left, window.left + width)

    def _window(self, rows: Span, columns: Span) -> StatisticsCrop:
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
        return pad_to_multiple(tile.to(self._like), self._multiple)

    def _keep_skip(self, corner: Corner, level: int, skip: Tensor) -> None:
        if level not in self._skips:
            self._skips[level] = TileStore(len(self._windows), _OF_SKIPS)
        self._skips[level].put(corner, [skip])

    def _skip(self, corner: Corner, level: int) -> Tensor:
        """Return a skip of a tile, computed again if there was no room for it."""
        kept = self._skips[level].get(corner)
        if kept is not None:
            return kept[0].to(self._like)
        held, skips = [self._tile(corner)], list[Tensor]()
        replay((held, self.model.encode_in_parts(held, skips, self.statistics)))
        return rounded(skips[level])


class _KeptSkips:
    """A tile's stack of skips, which wait in stores."""

    def __init__(self, owner: SinglePass, corner: Corner, levels: int) -> None:
        self._owner, self._corner, self._levels = owner, corner, levels

    def append(self, skip: Tensor, /) -> None:
        self._owner._keep_skip(self._corner, self._levels, skip)
        self._levels += 1

    def pop(self) -> Tensor:
        self._levels -= 1
        return self._owner._skip(self._corner, self._levels)
