"""The forms of a network whose tiles share statistics and one latent of their whole image.

What `unveil.inference.engine.Engine` does in tiles, in pieces: gather the statistics, encode every
tile, refine the latent of the whole image, restore every tile. Features are ``(1, f, h, w)`` here,
as images are, so that one rule frees their axes.
"""

import torch
from torch import Tensor, nn

from unveil.export.forms import TilesOfAnImage, padded
from unveil.inference.readout import Readout
from unveil.layers.context import Context, ImageWide
from unveil.models.base import RestorationModel


class StatisticsAndScores(nn.Module):
    """``image``, ``places`` → statistics, and the degradation estimate's scores.

    Args:
        model: The network.
        names: The layers, in the order of the outputs.
        readout: Linear probe of the statistics; None gives no scores.
    """

    def __init__(self, model: RestorationModel, names: list[str], readout: Readout | None) -> None:
        super().__init__()
        self.model, self.names, self.readout = model, names, readout

    def forward(self, image: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        """Gather statistics of one image from crops ``(n, 3, h, w)`` at ``places`` ``(n, 4)``.

        Returns:
            One tensor per layer, then, with a readout, ``(causes + 1,)``: the log odds of each
            cause and the log of the noise level.
        """
        recorder = Context(places=places)
        self.model(padded(image, self.model.size_multiple), recorder)
        found = [recorder.statistics[name] for name in self.names]
        if self.readout is None:
            return tuple(found)
        parts = [
            layer.summary(recorder.statistics[layer.statistic_name])[0]
            for layer in self.model.modules()
            if isinstance(layer, ImageWide)
        ]
        scores = torch.tensor(self.readout.weight) @ torch.cat(parts)
        return (*found, scores + torch.tensor(self.readout.bias))


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
        """Encode a tile ``(1, 3, h, w)``; sides of the result are rounded up."""
        context = Context(dict(zip(self.names, statistics, strict=True)))
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
        """Refine features ``(1, f, h, w)``."""
        context = None
        if self.names is not None and statistics is not None:
            context = Context(dict(zip(self.names, statistics, strict=True)))
        refined = self.model.refine_latent(image.permute(0, 2, 3, 1).contiguous(), context)
        return refined.permute(0, 3, 1, 2)


class TileWithLatent(TilesOfAnImage):
    """``image``, ``latent`` and statistics → ``restored``; arguments as `TilesOfAnImage`."""

    def forward(self, image: Tensor, latent: Tensor, statistics: list[Tensor]) -> Tensor:  # type: ignore[override]
        """Restore a tile ``(1, 3, h, w)``, not clipped, with its latent ``(1, f, h, w)``."""
        return self.restored(image, statistics, latent.permute(0, 2, 3, 1).contiguous())
