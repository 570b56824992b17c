"""The U-Net that both networks are: the way through it; they build its parts."""

from typing import Any

from torch import Tensor, nn

from unveil.layers.functional import pixel_shuffle_last, pixel_unshuffle_last
from unveil.layers.statistics import GlobalStatistics
from unveil.models.base import RestorationModel


class UNet(RestorationModel):
    """Encoder, latent and decoder with skips, between a pixel-unshuffle and a pixel-shuffle.

    Subclasses build the parts below in the order of their state dicts, and implement `first` and
    `join`.

    Attributes:
        encoder: A stage per level but the coarsest, finest first.
        downs: Downsampling after each of these stages.
        latent: The stage of the coarsest level.
        ups: Upsampling to each level but the coarsest.
        decoder: A stage per level but the coarsest, finest first.
        head: Convolution to the residual.
    """

    config: Any
    encoder: nn.ModuleList
    downs: nn.ModuleList
    latent: nn.Module
    ups: nn.ModuleList
    decoder: nn.ModuleList
    head: nn.Module

    @property
    def size_multiple(self) -> int:
        """Heights and widths that `forward` takes are multiples of this."""
        return int(self.config.stem_factor * 2 ** (len(self.config.levels) - 1))

    def first(self, pixels: Tensor) -> Tensor:
        """Map pixel-unshuffled images ``(b, h, w, 3 · factor²)`` to features."""
        raise NotImplementedError

    def join(self, level: int, x: Tensor, skip: Tensor, context: GlobalStatistics | None) -> Tensor:
        """Join a skip to the features that come up to its level.

        Args:
            level: 0 is the finest.
            x: ``(b, h, w, c)`` from the coarser level.
            skip: ``(b, h, w, c)`` from the encoder.
            context: Global statistics, when the features are of a tile; None for a whole image.
        """
        raise NotImplementedError

    def encode(
        self, degraded: Tensor, context: GlobalStatistics | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the encoder, see `RestorationModel.encode`."""
        x = self.first(pixel_unshuffle_last(degraded.permute(0, 2, 3, 1), self.config.stem_factor))
        skips = []
        for stage, down in zip(self.encoder, self.downs, strict=True):
            x = stage(x, context)
            skips.append(x)
            x = down(x)
        return x, skips

    def refine_latent(self, features: Tensor, context: GlobalStatistics | None) -> Tensor:
        """Run the latent, see `RestorationModel.refine_latent`."""
        out: Tensor = self.latent(features, context)
        return out

    def decode(
        self, latent: Tensor, skips: list[Tensor], context: GlobalStatistics | None
    ) -> Tensor:
        """Run the decoder, see `RestorationModel.decode`."""
        x = latent
        for level in reversed(range(len(skips))):
            x = self.join(level, self.ups[level](x), skips.pop(), context)
            x = self.decoder[level](x, context)
        x = self.head(self.refine(x, context))
        return pixel_shuffle_last(x, self.config.stem_factor).permute(0, 3, 1, 2)

    def refine(self, x: Tensor, context: GlobalStatistics | None) -> Tensor:  # noqa: ARG002
        """Refine the finest features before the head; by default they stay as they are.

        Args:
            x: ``(b, h, w, c)``.
            context: Global statistics, when the features are of a tile; None for a whole image.
        """
        return x
