"""Global statistics of an image: gathered from crops at full resolution, evenly spread."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unveil.imaging.image import Array
from unveil.imaging.scratch import release
from unveil.inference.sample_conversion import to_network
from unveil.inference.self_ensemble import Place, transformed, transformed_place
from unveil.inference.tiles import Grid
from unveil.layers.statistics import GlobalStatistics

# Passes samples through a network, which records its statistics.
Run = Callable[[Tensor, GlobalStatistics], object]

# Side of a crop, and pixels of all: four such crops. With the statistics of a single one, light
# rain on Kodak24 came out 2.5 dB worse.
SIDE, MOST_PIXELS = 512, 2**20
# Crops of a pass where an image is restored in tiles.
_AT_ONCE = 4


def most_at_once(grid: Grid) -> int:
    """Return how many pixels a pass takes that gathers statistics for an image in tiles."""
    return _AT_ONCE * min(SIDE, grid.tile) ** 2


@dataclass(frozen=True)
class StatisticsCrop:
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, pixels: Array, multiple: int) -> Array:
        """Return this part of ``(h, w, c)``, its edge repeated up to a multiple of pixels.

        Args:
            pixels: ``(h, w, c)`` samples of the image.
            multiple: Sides of the result are multiples of this.
        """
        part = pixels[self.top : self.top + self.height, self.left : self.left + self.width]
        return np.pad(
            part, ((0, -self.height % multiple), (0, -self.width % multiple), (0, 0)), "edge"
        )

    def place(self, height: int, width: int, number: int = 0) -> Place:
        """Return top, bottom, left and right as shares of an image's height and width.

        Args:
            height: Of the image.
            width: Of the image.
            number: Self-ensemble transform of the image.

        >>> StatisticsCrop(0, 0, 2, 3).place(8, 4)
        (0.0, 0.25, 0.0, 0.75)
        """
        top, bottom = self.top / height, (self.top + self.height) / height
        left, right = self.left / width, (self.left + self.width) / width
        return transformed_place((top, bottom, left, right), number)


class ConditionedStatistics(GlobalStatistics):
    """Statistics of an image of which some are given in advance.

    Used while an image is restored whole, or while its statistics are gathered.

    Args:
        given: By layer, ``(1, ...)``.
        places: As for `GlobalStatistics`.
    """

    def __init__(self, given: Mapping[str, Tensor], places: Tensor | None = None) -> None:
        super().__init__(places=places)
        self._given = given

    def statistic(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """Return what was given for layer `name`, else the image's own statistic.

        Args:
            name: The layer's name within its model.
            compute: Gives the statistic of every sample, ``(samples, ...)``.
        """
        return super().statistic(
            name, lambda: self._given[name] if name in self._given else compute()
        )


def gather_statistics(
    run: Run,
    pixels: Array,
    *,
    side: int,
    multiple: int,
    most_pixels: int | None,
    transforms: range,
    given: Mapping[str, Tensor],
) -> list[GlobalStatistics]:
    """Gather an image's statistics from crops, once per self-ensemble transform.

    Args:
        run: Passes ``(samples, 3, h, w)`` through the network, which records.
        pixels: ``(h, w, c)`` samples of the image, c 1 or 3.
        side: The crops' longest side.
        multiple: The network's size multiple.
        most_pixels: Pixels of a pass; None takes all crops at once. Crops of one pass share every
            layer's statistics, as parts of the whole image do.
        transforms: Numbers of the transforms.
        given: Statistics, by layer, that replace the image's own.
    """
    height, width, _ = pixels.shape
    crops = spread_crops(height, width, side, multiple)
    together = torch.cat([to_network(crop.cut(pixels, multiple)) for crop in crops])
    release(pixels)
    number = len(crops)
    if most_pixels is not None:
        number = max(most_pixels // together[0, 0].numel(), 1)
    gathered = []
    for transform in transforms:
        places = torch.tensor([crop.place(height, width, transform) for crop in crops])
        samples = transformed(together, transform)
        gathered.append(_average(run, samples, places, number, given))
    return gathered


def _average(
    run: Run, samples: Tensor, places: Tensor, number: int, given: Mapping[str, Tensor]
) -> GlobalStatistics:
    """Average the statistics of batches of `number` samples, each spread over the image."""
    batches = -(-len(samples) // number)
    parts, counts = [], []
    with torch.inference_mode():
        for i in range(batches):
            batch = samples[i::batches]
            recorder = ConditionedStatistics(given, places[i::batches])
            run(batch, recorder)
            parts.append(recorder.recorded())
            counts.append(len(batch))
    return GlobalStatistics.average(parts, counts)


def spread_crops(height: int, width: int, side: int, multiple: int) -> list[StatisticsCrop]:
    """Lay equal crops over an image, each in the middle of an equal share of it.

    Small images are covered once, but for what fills the crops up to multiples: what is seen
    twice counts twice.

    Args:
        height: Of the image.
        width: Of the image.
        side: The crops' longest side.
        multiple: Sides are multiples of this, where the image is large enough.

    >>> len(spread_crops(512, 768, 512, 8))
    2
    >>> len(spread_crops(4000, 6000, 512, 8))
    4
    """
    if height * width <= MOST_PIXELS:
        down, across = -(-height // side), -(-width // side)
    else:
        number = max(MOST_PIXELS // (min(side, height) * min(side, width)), 1)
        down = min(max(round((number * height / width) ** 0.5), 1), number, -(-height // side))
        across = min(number // down, -(-width // side))
    tall = _length(height, down, side, multiple)
    wide = _length(width, across, side, multiple)
    tops, lefts = _starts(height, down, tall), _starts(width, across, wide)
    return [StatisticsCrop(top, left, tall, wide) for top in tops for left in lefts]


def _length(length: int, number: int, side: int, multiple: int) -> int:
    share = -(-length // number)
    return min(share + -share % multiple, side, length)


def _starts(length: int, number: int, window: int) -> list[int]:
    """Return where crops in the middle of `number` equal shares start."""
    middles = ((i + 0.5) * length / number for i in range(number))
    return [min(max(round(middle - window / 2), 0), length - window) for middle in middles]
