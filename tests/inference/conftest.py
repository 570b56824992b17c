"""Small networks whose answers are known."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unveil.layers.statistics import GlobalStatistics, ImageWide


class Identity(nn.Module):
    size_multiple = 1

    def forward(self, x: Tensor, context: GlobalStatistics | None = None) -> Tensor:  # noqa: ARG002
        return x


class Blur(nn.Module):
    """A 9×9 mean: what tiles must agree on when they share enough pixels."""

    size_multiple = 4

    def forward(self, x: Tensor, context: GlobalStatistics | None = None) -> Tensor:  # noqa: ARG002
        return F.avg_pool2d(F.pad(x, (4, 4, 4, 4), "replicate"), 9, 1)


class Darker(nn.Module):
    """Subtracts a tenth everywhere."""

    size_multiple = 8

    def forward(self, x: Tensor, context: GlobalStatistics | None = None) -> Tensor:  # noqa: ARG002
        return x - 0.1


class MinusMean(ImageWide):
    """Subtracts the image's mean: every tile must use the same one."""

    size_multiple = 4
    has_statistics = True
    statistic_name = "mean"

    def forward(self, x: Tensor, context: GlobalStatistics | None = None) -> Tensor:
        return x - self.image_statistic(x, context)

    def measure(self, x: Tensor, places: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return x.mean((2, 3), keepdim=True)

    def collect_statistics(self, samples: Tensor) -> GlobalStatistics:
        recorder = GlobalStatistics()
        self(samples, recorder)
        return recorder.recorded()


class MinusSpread(MinusMean):
    """Subtracts the standard deviation, which windows see smaller than the whole image."""

    def measure(self, x: Tensor, places: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return x.std((2, 3), correction=0, keepdim=True)


class Hungry(Blur):
    """Has no memory for images above a size."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side, self.refused = side, 0

    def forward(self, x: Tensor, context: GlobalStatistics | None = None) -> Tensor:
        if max(x.shape[-2:]) > self.side:
            self.refused += 1
            raise torch.OutOfMemoryError("no room")
        return super().forward(x, context)
