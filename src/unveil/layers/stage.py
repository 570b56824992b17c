"""Layers applied in order, all with the image's statistics."""

from collections.abc import Generator, Iterable

from torch import Tensor, nn

from unveil.layers.gated_unit import GatedUnit
from unveil.layers.statistics import AccumulatedStatistics, GlobalStatistics


class Stage(nn.Module):
    """Blocks, or sub-blocks of a block, applied in order.

    Args:
        blocks: Modules called as ``block(x, statistics)``.
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, statistics: GlobalStatistics | None = None) -> Tensor:
        """Map features to the same shape.

        Args:
            x: ``(b, h, w, c)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.
        """
        for block in self.blocks:
            x = block(x, statistics)
        return x

    def in_parts(
        self, held: list[Tensor], statistics: AccumulatedStatistics
    ) -> Generator[None, None, None]:
        """Map a tile's features, pausing where all tiles must have added to a statistic.

        Args:
            held: The features, ``(1, h, w, c)``, replaced by the result. While it pauses, this list
                alone holds tensors: they may be taken out and put back.
            statistics: Of the image.
        """
        for block in self.blocks:
            if isinstance(block, Stage | GatedUnit):
                yield from block.in_parts(held, statistics)
            else:
                held.append(block(held.pop(), statistics))
