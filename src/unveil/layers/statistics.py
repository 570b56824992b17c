"""Statistics of a whole image, shared by the tiles it is restored in.

Channel-SSM descriptors, channel attention and prompt weights depend on the whole image. Computed
tile by tile they would differ from tile to tile, so a network can gather them once. Every layer
with such a statistic computes it through `ImageWide.image_statistic`. `GlobalStatistics` either
record it, averaged over the samples in the batch, or replay it. `AccumulatedStatistics` are exact:
tiles add to them layer by layer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unveil.errors import InputError


class GlobalStatistics:
    """Image-wide statistics of one image, by the name of the layer they belong to.

    Every value has shape ``(1, ...)`` and applies to all tiles of the image. Made by
    `RestorationModel.collect_statistics`.

    Args:
        statistics: To be replayed; None records.
        places: While recording, where in the image each sample lies, ``(samples, 4)``: top, bottom,
            left, right, as shares of its height and width. None: each is the whole image.
    """

    def __init__(
        self, statistics: Mapping[str, Tensor] | None = None, places: Tensor | None = None
    ) -> None:
        self.statistics: dict[str, Tensor] = dict(statistics or {})
        self.places = places
        self.recording = statistics is None

    def statistic(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """Return the statistic of layer `name`, computing and recording it while recording.

        Args:
            name: The layer's name within its model.
            compute: Gives the statistic of every sample, ``(samples, ...)``.

        Returns:
            The statistic, ``(1, ...)``: the mean over the samples.

        Raises:
            InputError: They were recorded by another model.
        """
        if self.recording:
            self.statistics[name] = compute().mean(0, keepdim=True)
        if name not in self.statistics:
            raise InputError(
                f"there is no statistic for layer {name!r}: "
                "these were gathered by another model; call collect_statistics() on this one"
            )
        return self.statistics[name]

    def recorded(self) -> "GlobalStatistics":
        """Return the recorded statistics, ready to be used."""
        return GlobalStatistics(self.statistics)

    @classmethod
    def average(
        cls, parts: Sequence["GlobalStatistics"], weights: Sequence[float]
    ) -> "GlobalStatistics":
        """Return the weighted mean of the statistics of parts of one image.

        Args:
            parts: Recorded by the same model.
            weights: How much each counts; their sum does not matter.

        >>> parts = [GlobalStatistics({"mean": torch.tensor([value])}) for value in (0.0, 3.0)]
        >>> GlobalStatistics.average(parts, [1, 2]).statistics
        {'mean': tensor([2.])}
        """
        total = sum(weights)
        shares = [weight / total for weight in weights]
        first = parts[0].statistics
        return cls(
            {
                name: sum(
                    (s * part.statistics[name] for s, part in zip(shares, parts, strict=True)),
                    start=torch.zeros_like(first[name]),
                )
                for name in first
            }
        )


class ImageWide(nn.Module):
    """Base of the layers that look at the whole image.

    `statistic_name` is set by the model that owns the layer.

    Attributes:
        summed: Whether statistics of an image's parts add up to the image's; else they are means,
            to be weighted by area.
    """

    statistic_name = ""
    summed = False

    def measure(self, x: Tensor, places: Tensor | None = None) -> Tensor:
        """Return the statistic of every image in the batch, ``(b, ...)``.

        It should be linear in the pixels' contributions, as samples are averaged.

        Args:
            x: ``(b, h, w, c)``.
            places: As `GlobalStatistics` has them.
        """
        raise NotImplementedError

    def image_statistic(self, x: Tensor, statistics: GlobalStatistics | None) -> Tensor:
        """Return the statistic of `x`, or that of the whole image where statistics are given.

        Args:
            x: What `measure` takes.
            statistics: None in training and for images restored whole.
        """
        if statistics is None:
            return self.measure(x)
        places = statistics.places
        return statistics.statistic(self.statistic_name, lambda: self.measure(x, places))

    def summary(self, statistic: Tensor) -> Tensor:
        """Return this layer's statistic as features ``(b, f)`` for the degradation estimate.

        By default none. Statistics that differ between degradations are useful.

        Args:
            statistic: As `image_statistic` returned it.
        """
        return statistic.new_zeros(len(statistic), 0)


@dataclass(frozen=True)
class TilePart:
    """What a tile adds to its image's statistics: each pixel belongs to one tile.

    Attributes:
        rows: First and last (exclusive) row, as shares of the tile's height.
        columns: Likewise.
        place: Top, bottom, left and right, as shares of the image's height and width.
    """

    rows: tuple[float, float]
    columns: tuple[float, float]
    place: tuple[float, float, float, float]

    @property
    def area(self) -> float:
        """Share of the image."""
        top, bottom, left, right = self.place
        return (bottom - top) * (right - left)

    def cut(self, x: Tensor) -> Tensor:
        """Return this part of a tile's features ``(b, h, w, c)``."""
        (top, bottom), (left, right) = (
            (round(start * length), round(end * length))
            for (start, end), length in zip((self.rows, self.columns), x.shape[1:3], strict=True)
        )
        return x[:, top:bottom, left:right].contiguous()


class AccumulatedStatistics(GlobalStatistics):
    """Statistics of a whole image, which its tiles add up.

    A layer's statistic is there once all tiles have added to it and `finish` was called.

    Args:
        given: By layer, ``(1, ...)``: what replaces the image's own.

    Attributes:
        part: Of the tile that adds next.

    >>> statistics = AccumulatedStatistics({"fixed": torch.ones(1)})
    >>> statistics.statistics
    {'fixed': tensor([1.])}
    """

    def __init__(self, given: Mapping[str, Tensor]) -> None:
        super().__init__(given)
        self._given = frozenset(given)
        self._sums: dict[str, Tensor] = {}
        self.part = TilePart((0.0, 1.0), (0.0, 1.0), (0.0, 1.0, 0.0, 1.0))

    def gathers(self, layer: ImageWide) -> bool:
        """Return whether a layer's statistic comes from the image."""
        return layer.statistic_name not in self._given

    def add(self, layer: ImageWide, x: Tensor) -> None:
        """Add the current tile's part to a layer's statistic, unless that is there already.

        Args:
            layer: The layer.
            x: What it measures, ``(1, h, w, c)``: what `part` cuts out of the tile's features.
        """
        name = layer.statistic_name
        if name in self.statistics:
            return
        measured = layer.measure(x, x.new_tensor([self.part.place]))
        share = measured if layer.summed else measured * self.part.area
        self._sums[name] = self._sums[name] + share if name in self._sums else share

    def finish(self) -> None:
        """Take what was added for the statistics of the image."""
        self.statistics |= self._sums
        self._sums = {}
