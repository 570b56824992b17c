"""Statistics of a whole image, shared by the tiles it is restored in.

Channel-SSM descriptors, channel attention and prompt weights depend on the whole image. Computed
tile by tile they would differ from tile to tile, so a network can gather them once. Every layer
with such a statistic computes it through `ImageWide.image_statistic`. `GlobalStatistics` either
record it, averaged over the samples in the batch, or replay it.
"""

from collections.abc import Callable, Mapping, Sequence

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
    """

    statistic_name = ""

    def image_statistic(
        self, compute: Callable[[], Tensor], statistics: GlobalStatistics | None
    ) -> Tensor:
        """Return `compute()`, or the statistic of the whole image where statistics are given.

        Args:
            compute: Gives the statistic of every image in the batch, ``(b, ...)``; should be linear
                in the pixels' contributions, as samples are averaged.
            statistics: None in training and for images restored whole.
        """
        if statistics is None:
            return compute()
        return statistics.statistic(self.statistic_name, compute)

    def summary(self, statistic: Tensor) -> Tensor:
        """Return this layer's statistic as features ``(b, f)`` for the degradation estimate.

        By default none. Statistics that differ between degradations are useful.

        Args:
            statistic: As `image_statistic` returned it.
        """
        return statistic.new_zeros(len(statistic), 0)
