"""Layers in a row that all see the image's context."""

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
        """Map ``(b, h, w, c)`` to the same shape."""
        for block in self.blocks:
            x = block(x, context)
        return x


def descend(
    x: Tensor, stages: Iterable[nn.Module], downs: Iterable[nn.Module], context: Context | None
) -> tuple[Tensor, list[Tensor]]:
    """Go down a U-Net's encoder.

    Returns:
        What enters the coarsest level, and every finer level's skip, finest first.
    """
    skips = []
    for stage, down in zip(stages, downs, strict=True):
        x = stage(x, context)
        skips.append(x)
        x = down(x)
    return x, skips
