"""Passes of an image's tiles through a part of a network that wait for each other.

At a layer that looks at the whole image every tile adds to its statistic and waits, until all have;
then they go on. So tiles share the statistics of the whole image, and each is computed once.
"""

from collections.abc import Callable, Mapping
from itertools import islice, pairwise

from torch import Tensor

from unveil.inference.tile_store import Corner, TileStore, rounded
from unveil.layers.statistics import AccumulatedStatistics, TilePart
from unveil.models.unet import Pauses

# Rows and columns of a tile: first and last (exclusive).
Spans = tuple[tuple[int, int], tuple[int, int]]
# What a pass holds while it waits, and its steps.
TilePass = tuple[list[Tensor], Pauses]


class TilePasses:
    """Passes of all tiles.

    Args:
        begin: Begins the pass of the tile with a corner; what it does must not depend on when.
        parts: By corner, in the order of the passes: what the tile adds to statistics.
        statistics: Of the image.
        store: Keeps what waiting tiles hold; other passes of these tiles may have used it.
        like: Device and type of the features.
        tick: Called after every step of a tile.
    """

    def __init__(
        self,
        begin: Callable[[Corner], TilePass],
        parts: Mapping[Corner, TilePart],
        statistics: AccumulatedStatistics,
        store: TileStore,
        like: Tensor,
        tick: Callable[[], None],
    ) -> None:
        self._begin, self._parts, self._statistics = begin, parts, statistics
        self._like, self._tick = like, tick
        self._store = store
        self._waiting: dict[Corner, TilePass] = {}
        self._ended: dict[Corner, Tensor] = {}
        self._pauses = 0

    def run(self) -> None:
        """Advance the tiles until nothing is left to wait for."""
        while self._pause():
            self._statistics.finish()
            self._pauses += 1

    def result(self, corner: Corner) -> Tensor:
        """End a tile's pass and return its result, once; `run` comes before."""
        result = self._ended.pop(corner, None)
        if result is None:
            result = self._advance(corner)
        assert result is not None, "the passes ran"
        return result

    def _pause(self) -> bool:
        """Advance every tile to the next pause; False if the first one ended instead."""
        for corner in self._parts:
            ended = self._advance(corner)
            if ended is not None:
                self._ended[corner] = ended
                return False
        return True

    def _advance(self, corner: Corner) -> Tensor | None:
        """Advance a tile to its next pause; return what it ended with."""
        self._statistics.part = self._parts[corner]
        held, steps = self._resumed(corner)
        ended = bool(next(steps, True))
        self._tick()
        if ended:
            return held[0]
        if self._store.put(corner, held):
            self._waiting[corner] = held, steps
            held.clear()
        return None

    def _resumed(self, corner: Corner) -> TilePass:
        if corner in self._waiting:
            held, steps = self._waiting.pop(corner)
            kept = self._store.get(corner)
            assert kept is not None, "what waits is kept"
            held.extend(x.to(self._like) for x in kept)
            return held, steps
        again = self._begin(corner)
        replay(again, self._pauses)
        return again


def replay(tile: TilePass, pauses: int | None = None) -> None:
    """Advance a pass that was not kept, for all its statistics are known.

    Args:
        tile: The pass, begun anew.
        pauses: How many it reaches; None goes to the end.
    """
    held, steps = tile
    for _ in islice(steps, pauses):
        # As those that are kept: which ones these are must not be seen in the result.
        held[:] = map(rounded, held)


def tile_parts(
    spans: Mapping[Corner, Spans], size: tuple[int, int], skip: int
) -> dict[Corner, TilePart]:
    """Return what each tile adds to the statistics of an image: together, all of it, once.

    Args:
        spans: By corner: where a tile lies. It may begin before its corner.
        size: Of the image.
        skip: How far after its corner the own part of a tile begins, but at the image's rim.

    >>> tiles = {(0, 0): ((0, 8), (0, 4)), (4, 0): ((2, 10), (0, 4))}
    >>> [part.place for part in tile_parts(tiles, (10, 4), 2).values()]
    [(0.0, 0.6, 0.0, 1.0), (0.6, 1.0, 0.0, 1.0)]
    """
    rows, columns = (_own({corner[axis] for corner in spans}, size[axis], skip) for axis in (0, 1))
    parts = {}
    for corner, (down, across) in spans.items():
        own = rows[corner[0]], columns[corner[1]]
        (top, bottom), (left, right) = own
        parts[corner] = TilePart(
            _share(own[0], down),
            _share(own[1], across),
            (top / size[0], bottom / size[0], left / size[1], right / size[1]),
        )
    return parts


def _own(starts: set[int], length: int, skip: int) -> dict[int, tuple[int, int]]:
    ordered = sorted(starts)
    bounds = [0, *(start + skip for start in ordered[1:]), length]
    return dict(zip(ordered, pairwise(bounds), strict=True))


def _share(own: tuple[int, int], span: tuple[int, int]) -> tuple[float, float]:
    start, end = span
    return (own[0] - start) / (end - start), (own[1] - start) / (end - start)
