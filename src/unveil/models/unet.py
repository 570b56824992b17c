"""The U-Net that both networks are: its skeleton, and the way through it."""

from collections.abc import Generator, Iterable, Sequence
from itertools import pairwise
from typing import Any, Protocol

from pydantic import Field
from torch import Tensor, nn

from unveil.layers.convolution import resampling
from unveil.layers.functional import pixel_shuffle_last, pixel_unshuffle_last
from unveil.layers.gated_unit import GatedUnit
from unveil.layers.prompt import PromptBlock
from unveil.layers.stage import Stage
from unveil.layers.statistics import AccumulatedStatistics, GlobalStatistics, ImageWide
from unveil.models.base import ModelConfig, RestorationModel
from unveil.ops import ScanOrder

# A pass in parts: it pauses at every yield.
Pauses = Generator[None, None, None]


class Skips(Protocol):
    """A stack of the encoder's features for the decoder."""

    def append(self, skip: Tensor, /) -> None:
        """Take the skip of the next level, ``(1, h, w, c)``."""

    def pop(self) -> Tensor:
        """Give the last one back."""


class UNetLevel(ModelConfig):
    """What the levels of both networks have.

    Attributes:
        width: Channels.
        encoder: Blocks on the way down; for the last level, the latent's blocks.
        decoder: Blocks on the way up; 0 for the last level.
    """

    width: int = Field(gt=0)
    encoder: int = Field(ge=0, le=32)
    decoder: int = Field(default=0, ge=0, le=32)


def check_outline(levels: Sequence[UNetLevel], orders: Sequence[Sequence[ScanOrder]]) -> None:
    """Check what the configurations of both networks have.

    Args:
        levels: From full size to the latent.
        orders: Scan orders, taken in turn.

    Raises:
        ValueError: The last level has a decoder, or an order is missing.
    """
    if not levels or levels[-1].decoder:
        raise ValueError("levels must end with the latent, whose decoder has 0 blocks")
    if not orders or not all(orders):
        raise ValueError("orders must name at least one scan order for every block")


class UNet(RestorationModel):
    """Encoder, latent and decoder with skips, between a pixel-unshuffle and a pixel-shuffle.

    A large image goes through in tiles that wait for each other: a tile's pass pauses where a layer
    looks at the whole image, until all tiles have added to its statistic (`encode_in_parts`,
    `refine_latent_in_parts`, `decode_in_parts`).

    Subclasses call `build_encoder` and `build_decoder`, and build their own parts, in the order of
    their state dicts. They implement `stage`, `first` and `join`.

    Attributes:
        encoder: A stage per level but the coarsest, finest first.
        downs: Downsampling after each of these stages.
        latent: The stage of the coarsest level.
        ups: Upsampling to each level but the coarsest.
        merges: What `join` joins skips with; may be empty.
        decoder: A stage per level but the coarsest, finest first.
        refinement: Blocks after the decoder; may be empty.
        head: Convolution to the residual.
    """

    config: Any
    encoder: nn.ModuleList
    downs: nn.ModuleList
    latent: nn.Module
    ups: nn.ModuleList
    merges: nn.ModuleList
    decoder: nn.ModuleList
    head: nn.Module

    @property
    def size_multiple(self) -> int:
        """Heights and widths that `forward` takes are multiples of this."""
        return int(self.config.stem_factor * 2 ** (len(self.config.levels) - 1))

    def stage(self, level: Any, width: int, blocks: int) -> nn.Module:
        """Build the blocks of a level, on the way down or up.

        Args:
            level: From the configuration.
            width: Channels.
            blocks: Their number.
        """
        raise NotImplementedError

    def build_encoder(self) -> None:
        """Build `encoder`, `downs` and `latent`."""
        *finer, last = self.config.levels
        down, _ = resampling(self.config.sampling)
        self.encoder = nn.ModuleList(self.stage(lv, lv.width, lv.encoder) for lv in finer)
        self.downs = nn.ModuleList(down(a, b) for a, b in pairwise(self._widths()))
        self.latent = self.stage(last, last.width, last.encoder)

    def build_decoder(
        self,
        merges: Iterable[nn.Module],
        widths: Sequence[int],
        refinement: Iterable[nn.Module] = (),
    ) -> None:
        """Build `ups`, `merges`, `decoder` and `refinement`.

        Args:
            merges: What `join` joins skips with.
            widths: Channels of the decoder at each level but the coarsest, finest first.
            refinement: Blocks after the decoder.
        """
        _, up = resampling(self.config.sampling)
        self.ups = nn.ModuleList(up(b, a) for a, b in pairwise(self._widths()))
        self.merges = nn.ModuleList(merges)
        self.decoder = nn.ModuleList(
            self.stage(lv, width, lv.decoder)
            for lv, width in zip(self.config.levels, widths, strict=False)
        )
        self.refinement = Stage(refinement)

    def _widths(self) -> list[int]:
        return [level.width for level in self.config.levels]

    def first(self, pixels: Tensor) -> Tensor:
        """Map pixel-unshuffled images ``(b, h, w, 3 · factor²)`` to features."""
        raise NotImplementedError

    def join(
        self, level: int, x: Tensor, skip: Tensor, statistics: GlobalStatistics | None
    ) -> Tensor:
        """Join a skip to the features that come up to its level.

        Args:
            level: 0 is the finest.
            x: ``(b, h, w, c)`` from the coarser level.
            skip: ``(b, h, w, c)`` from the encoder.
            statistics: Global statistics, when the features are of a tile; None for a whole image.
        """
        raise NotImplementedError

    def encode(
        self, degraded: Tensor, statistics: GlobalStatistics | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the encoder, see `RestorationModel.encode`."""
        x = self.first(pixel_unshuffle_last(degraded.permute(0, 2, 3, 1), self.config.stem_factor))
        skips = []
        for stage, down in zip(self.encoder, self.downs, strict=True):
            x = stage(x, statistics)
            skips.append(x)
            x = down(x)
        return x, skips

    def refine_latent(self, features: Tensor, statistics: GlobalStatistics | None) -> Tensor:
        """Run the latent, see `RestorationModel.refine_latent`."""
        out: Tensor = self.latent(features, statistics)
        return out

    def decode(
        self, latent: Tensor, skips: list[Tensor], statistics: GlobalStatistics | None
    ) -> Tensor:
        """Run the decoder, see `RestorationModel.decode`."""
        x = latent
        for level in reversed(range(len(skips))):
            x = self.join(level, self.ups[level](x), skips.pop(), statistics)
            x = self.decoder[level](x, statistics)
        x = self.head(self.refinement(x, statistics))
        return pixel_shuffle_last(x, self.config.stem_factor).permute(0, 3, 1, 2)

    @property
    def runs_in_parts(self) -> bool:
        """Whether all layers with image-wide statistics are of kinds that tiles can wait at."""
        blocks = [m for m in self.modules() if isinstance(m, GatedUnit | PromptBlock)]
        paused = {id(module) for block in blocks for module in block.modules()}
        return all(id(m) in paused for m in self.modules() if isinstance(m, ImageWide))

    @property
    def pauses(self) -> int:
        """How often a tile waits for the others while it is encoded and decoded."""
        waiting = (m for m in self.modules() if isinstance(m, GatedUnit) and m.mixer is not None)
        latent = {id(module) for module in self.latent.modules()}
        return sum(id(unit) not in latent for unit in waiting)

    def encode_in_parts(
        self, held: list[Tensor], skips: Skips, statistics: AccumulatedStatistics
    ) -> Pauses:
        """Encode a tile, pausing where all tiles must have added to a statistic.

        Args:
            held: The tile, ``(1, 3, h, w)``, replaced by the features that enter the latent. While
                it pauses, this list alone holds tensors: they may be taken out and put back.
            skips: Takes the skips, finest first.
            statistics: Of the image.
        """
        pixels = held.pop().permute(0, 2, 3, 1)
        held.append(self.first(pixel_unshuffle_last(pixels, self.config.stem_factor)))
        del pixels
        for level, (stage, down) in enumerate(zip(self.encoder, self.downs, strict=True)):
            yield from stage.in_parts(held, statistics)  # type: ignore[operator]
            self.add_skip(level, held[0], statistics)
            skips.append(held[0])
            held.append(down(held.pop()))

    def refine_latent_in_parts(
        self, held: list[Tensor], statistics: AccumulatedStatistics
    ) -> Pauses:
        """Refine a piece of an image's latent, pausing as `encode_in_parts` does.

        Args:
            held: Features ``(1, h, w, c)``, replaced by the result.
            statistics: Of the image.
        """
        yield from self.latent.in_parts(held, statistics)  # type: ignore[operator]

    def decode_in_parts(
        self, held: list[Tensor], skips: Skips, statistics: AccumulatedStatistics
    ) -> Pauses:
        """Decode a tile, pausing as `encode_in_parts` does.

        Args:
            held: Its latent, ``(1, h, w, c)``, replaced by the residual, ``(1, 3, h, w)``.
            skips: Gives the skips, coarsest first.
            statistics: Of the image.
        """
        for level in reversed(range(len(self.ups))):
            x = self.ups[level](held.pop())
            held.append(self.join(level, x, skips.pop(), statistics))
            del x
            yield from self.decoder[level].in_parts(held, statistics)  # type: ignore[operator]
        yield from self.refinement.in_parts(held, statistics)
        x = pixel_shuffle_last(self.head(held.pop()), self.config.stem_factor)
        held.append(x.permute(0, 3, 1, 2))

    def add_skip(self, level: int, skip: Tensor, statistics: AccumulatedStatistics) -> None:
        """Add to the statistics that `join` needs of a skip; by default none.

        Args:
            level: 0 is the finest.
            skip: ``(1, h, w, c)`` of a tile.
            statistics: Of the image.
        """
