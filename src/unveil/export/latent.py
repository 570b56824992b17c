"""The forms of a network whose tiles share statistics and one latent of their whole image.

What `unveil.inference.tiling.TiledInference` does, in pieces: gather the statistics, encode every
tile, refine the latent of the whole image, restore every tile. Features are ``(1, f, h, w)`` here,
as images are, so that one rule frees their axes.
"""

from torch import Tensor, nn

from unveil.export.graph_modules import TilesOfAnImage, padded
from unveil.layers.statistics import GlobalStatistics
from unveil.models.base import RestorationModel


class EncodedTile(nn.Module):
    """``image`` and statistics → ``latent``, what enters the coarsest level.

    Args:
        model: The network.
        names: The layers, in the order of the inputs.
    """

    def __init__(self, model: RestorationModel, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, image: Tensor, statistics: list[Tensor]) -> Tensor:
        """Encode a tile ``(1, 3, h, w)``; sides of the result are rounded up.

        Args:
            image: Floats in [0, 1].
            statistics: Of the image, one tensor per layer.
        """
        context = GlobalStatistics(dict(zip(self.names, statistics, strict=True)))
        features = self.model.encode(padded(image, self.model.size_multiple), context)[0]
        return features.permute(0, 3, 1, 2)


class RefinedLatent(nn.Module):
    """``image``, which is a latent here, and statistics → ``refined``.

    Args:
        model: The network.
        names: The layers, in the order of the inputs; None takes the latent's own statistics.
    """

    def __init__(self, model: RestorationModel, names: list[str] | None) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, image: Tensor, statistics: list[Tensor] | None = None) -> Tensor:
        """Refine features ``(1, f, h, w)``.

        Args:
            image: The encoder's features of the whole image.
            statistics: Of the image, one tensor per layer that has any.
        """
        context = None
        if self.names is not None and statistics is not None:
            context = GlobalStatistics(dict(zip(self.names, statistics, strict=True)))
        refined = self.model.refine_latent(image.permute(0, 2, 3, 1).contiguous(), context)
        return refined.permute(0, 3, 1, 2)


class TileWithLatent(TilesOfAnImage):
    """``image``, ``latent`` and statistics → ``restored``; arguments as `TilesOfAnImage`."""

    def forward(self, image: Tensor, latent: Tensor, statistics: list[Tensor]) -> Tensor:  # type: ignore[override]
        """Restore a tile ``(1, 3, h, w)``, not clipped, with its latent ``(1, f, h, w)``.

        Args:
            image: Floats in [0, 1].
            latent: The tile's part of the refined features.
            statistics: Of the image, one tensor per layer.
        """
        return self.restored(image, statistics, latent.permute(0, 2, 3, 1).contiguous())
