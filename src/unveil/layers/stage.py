"""Layers applied in order, all with the context of the image."""

from collections.abc import Iterable

from torch import Tensor, nn

from unveil.layers.context import Context


class Stage(nn.Module):
    """Blocks, or sub-blocks of a block, applied in order.

    Args:
        blocks: Modules called as ``block(x, context)``.
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """Map features to the same shape.

        Args:
            x: ``(b, h, w, c)``.
            context: Global statistics, when the features are of a tile; None for a whole image.
        """
        for block in self.blocks:
            x = block(x, context)
        return x


def descend(
    x: Tensor, stages: Iterable[nn.Module], downs: Iterable[nn.Module], context: Context | None
) -> tuple[Tensor, list[Tensor]]:
    """Run the encoder of a U-Net.

    Args:
        x: ``(b, h, w, c)`` of the finest level.
        stages: Stage of every level but the coarsest, finest first.
        downs: Downsampling after each stage.
        context: Global statistics, when the features are of a tile; None for a whole image.

    Returns:
        Features that enter the coarsest level, and the skips of the finer levels, finest first.
    """
    skips = []
    for stage, down in zip(stages, downs, strict=True):
        x = stage(x, context)
        skips.append(x)
        x = down(x)
    return x, skips
