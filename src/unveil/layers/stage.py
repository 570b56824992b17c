"""Layers applied in order, all with the image's statistics."""

from collections.abc import Iterable

from torch import Tensor, nn

from unveil.layers.statistics import GlobalStatistics


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
