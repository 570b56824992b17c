"""MTAIR: one network for several degradations, of Mamba and Transformer branches and prompts.

Paper: Jiang et al., "Multi-dimensional Visual Prompt Enhanced Image Restoration via
Mamba-Transformer Aggregation", arXiv 2412.15845.

Figure → class: the network `MTAIR`; M-T DN, the dual-branch network, `DualBlock` (channel
self-attention beside a 2-D selective scan); the plain block `PlainBlock`; S-C PB, the
spatial-channel prompt block, `unveil.layers.prompt.PromptBlock`; the vision state-space module
`unveil.layers.mamba.VisionSSM`.

Option of the published class → field of `MTAIRConfig`: dim `levels[0].width`, num_blocks
`levels[l].encoder`, num_refinement_blocks `refinement`, heads `levels[l].heads`,
ffn_expansion_factor `ffn_expand`; prompt_dim and prompt_size of a level, prompt_len
`prompt_length`, lin_dim its `width`.

The skeleton (widths, blocks, heads, where each kind of block and prompt stands) is as published.
What is not known, and what is done here:

1. The branches see the same normalised features and are added, each with a learned factor per
   channel.
2. Feed-forward: gated depth-wise, factor 2.66.
3. Prompt weights: softmax of a linear map of the features' means. Over space the pixels are
   queries and 4×4 pooled prompt tokens keys and values; over channels the prompt's channels are
   queries and the features' channels keys and values, on the prompt's grid, to which features of
   other sizes are pooled. Both results are added to the features, whose channels the prompt scales,
   by 1 at first; no feed-forward follows.
4. Down: 3×3 convolution and pixel-unshuffle; up: 3×3 convolution and pixel-shuffle.
5. A scan's skip weights D add up to one over its orders; the head starts at a tenth of the usual
   size, which starts the network near the identity.

Of these choices the branches and their fusion have been tried against others (docs/decisions/0011,
0012); the roles of query and key in the prompts have not. Trained equally long, `mtair_small` is no
better with its scans than with attention in their place (0012).

Millions of parameters in `mtair_base`: encoder 4.35, downs 0.22, latent 14.37, prompts 11.70, ups
3.48, merges 0.09, decoder 4.97, refinement 0.47, together 39.66.

`mtair_small` departs for CPUs (``block="gated"``): a pixel-unshuffle stem, with a bias; branches
stand inside a gated depth-wise unit and share its convolution, and no feed-forward follows, as the
unit is gated like one; q·kᵀ comes from one inner-product matrix, and values also pass directly; two
scan orders per scan, alternating, of 8 states, E = 1 and Δ of rank ceil(width / 32), with B and C
normalised, and what the states contribute smoothed by two depth-wise 3×3 convolutions; down and up
by one linear layer per 2×2 patch; three levels, in whose latent every second block has one branch,
in turn the scan and the attention (``branches="turns"``), the last block of every other stage
channel attention; small prompts with narrow attentions; the first level's skip returns to the
level's width. Widths and units are those of `cu_mamba_small`, with two more in the latent, so that
it can start as that denoiser (experiments/start_from_denoiser.py).
"""

from itertools import cycle
from typing import ClassVar

import torch
from torch import Tensor, nn

from unveil.errors import InputError
from unveil.layers.attention import ChannelAttention, GatedFeedForward, GramAttention
from unveil.layers.convolution import Conv3x3, Merge
from unveil.layers.gated_unit import GatedUnit
from unveil.layers.mamba import VisionSSM
from unveil.layers.norm import ChannelNorm
from unveil.layers.prompt import PromptBlock, PromptMixer
from unveil.layers.scan import ImageScan
from unveil.layers.stage import Stage
from unveil.layers.statistics import AccumulatedStatistics, GlobalStatistics
from unveil.models.base import ModelConfig
from unveil.models.mtair_config import SMALL, TINY, Level, MTAIRConfig
from unveil.models.record import ModelRecord
from unveil.models.unet import Pauses, UNet


class DualBlock(nn.Module):
    """M-T DN: channel attention beside a vision state-space module, then a feed-forward.

    Args:
        channels: Channels.
        attention: The channel branch, or None.
        scan: The spatial branch, or None.
        ffn_expand: Factor of the feed-forward.
        fusion: How both branches are joined, ``"sum"`` or ``"concat"``.
    """

    def __init__(
        self,
        channels: int,
        attention: ChannelAttention | None,
        scan: VisionSSM | None,
        ffn_expand: float,
        fusion: str = "sum",
    ) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.attention, self.scan = attention, scan
        both = attention is not None and scan is not None
        self.fuse = (
            nn.Linear(2 * channels, channels, bias=False) if both and fusion == "concat" else None
        )
        for name, branch in (("attention_scale", attention), ("scan_scale", scan)):
            scaled = branch is not None and self.fuse is None
            scale = nn.Parameter(torch.ones(channels)) if scaled else None
            self.register_parameter(name, scale)
        self.ffn_norm = ChannelNorm(channels)
        self.ffn = GatedFeedForward(channels, ffn_expand)

    def forward(self, x: Tensor, statistics: GlobalStatistics | None = None) -> Tensor:
        """Map features to the same shape.

        Args:
            x: ``(b, h, w, channels)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.
        """
        y = self.norm(x)
        if self.fuse is not None and self.attention is not None and self.scan is not None:
            x = x + self.fuse(torch.cat([self.attention(y, statistics), self.scan(y)], -1))
        else:
            if self.attention is not None:
                x = x + self.attention(y, statistics) * self.attention_scale
            if self.scan is not None:
                x = x + self.scan(y) * self.scan_scale
        out: Tensor = x + self.ffn(self.ffn_norm(x))
        return out


class PlainBlock(nn.Module):
    """Channel attention, then a feed-forward, each on a residual."""

    def __init__(self, channels: int, attention: ChannelAttention, ffn_expand: float) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.attention = attention
        self.ffn_norm = ChannelNorm(channels)
        self.ffn = GatedFeedForward(channels, ffn_expand)

    def forward(self, x: Tensor, statistics: GlobalStatistics | None = None) -> Tensor:
        """Map features to the same shape.

        Args:
            x: ``(b, h, w, channels)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.
        """
        x = x + self.attention(self.norm(x), statistics)
        y: Tensor = x + self.ffn(self.ffn_norm(x))
        return y


class MTAIR(UNet):
    """The network: patch embedding, encoder, latent, decoder with prompts, refinement, head.

    Args:
        config: Widths, blocks and switches.
    """

    config_type: ClassVar[type[ModelConfig]] = MTAIRConfig
    config: MTAIRConfig

    def __init__(self, config: MTAIRConfig) -> None:
        super().__init__(config)
        levels, pixels = config.levels, 3 * config.stem_factor**2
        self._orders = cycle(config.orders)
        widths = [self._decoder_width(level) for level in range(len(levels) - 1)]
        self.embed = Conv3x3(pixels, levels[0].width, bias=config.embed_bias)
        self.build_encoder()
        self.prompts = nn.ModuleList(self._prompt(lv) for lv in levels if config.prompts)
        merges = (
            Merge(level.width, width) if width == level.width else nn.Identity()
            for level, width in zip(levels, widths, strict=False)
        )
        out = widths[0] if widths else levels[0].width
        last = (self._block(levels[0], out, i, dual=False) for i in range(config.refinement))
        self.build_decoder(merges, widths, last)
        # A small head starts the network near the identity.
        self.head = Conv3x3(out, pixels, bias=False, gain=0.1)
        del self._orders
        self.name_statistics()

    def first(self, pixels: Tensor) -> Tensor:
        """Embed the patches."""
        features: Tensor = self.embed(pixels)
        return features

    def refine_latent(self, features: Tensor, statistics: GlobalStatistics | None) -> Tensor:
        """Run the latent: blocks, then prompts; see `RestorationModel.refine_latent`."""
        return self._prompted(len(self.downs), self.latent(features, statistics), statistics)

    def refine_latent_in_parts(
        self, held: list[Tensor], statistics: AccumulatedStatistics
    ) -> Pauses:
        """Refine a piece of the latent, see `UNet.refine_latent_in_parts`."""
        level = len(self.downs)
        yield from self.latent.in_parts(held, statistics)  # type: ignore[operator]
        if self.config.prompts:
            self.add_skip(level, held[0], statistics)
            yield
        held.append(self._prompted(level, held.pop(), statistics))

    def add_skip(self, level: int, skip: Tensor, statistics: AccumulatedStatistics) -> None:
        """Add to the statistics of a level's prompts, see `UNet.add_skip`."""
        if self.config.prompts:
            self.prompts[level].add_statistics(skip, statistics)  # type: ignore[operator]

    def join(
        self, level: int, x: Tensor, skip: Tensor, statistics: GlobalStatistics | None
    ) -> Tensor:
        """Concatenate the prompted skip and merge, see `UNet.join`."""
        skip = self._prompted(level, skip, statistics)
        merge = self.merges[level]
        joined: Tensor = (
            merge(x, skip) if isinstance(merge, Merge) else merge(torch.cat([x, skip], -1))
        )
        return joined

    @torch.no_grad()
    def prompt_weights(self, degraded: Tensor) -> Tensor:
        """Return the weights of the prompts, which differ between degradations.

        Args:
            degraded: ``(b, 3, h, w)`` as for `forward`.

        Returns:
            ``(b, prompts, prompt_length)``, each row summing to 1; prompts from level 1 to the
            latent.

        Raises:
            InputError: The network has no prompts, or the shape does not fit.
        """
        names = [n for n, module in self.named_modules() if isinstance(module, PromptMixer)]
        if not names:
            raise InputError("this network was built without prompts")
        weights = []
        for image in degraded:
            statistics = self.collect_statistics(image[None]).statistics
            weights.append(torch.stack([statistics[name][0].softmax(-1) for name in names]))
        return torch.stack(weights)

    def _prompted(self, level: int, x: Tensor, statistics: GlobalStatistics | None) -> Tensor:
        if not self.config.prompts:
            return x
        y: Tensor = self.prompts[level](x, statistics)
        return y

    def _decoder_width(self, level: int) -> int:
        width = self.config.levels[level].width
        return width if level or self.config.merge_first else 2 * width

    def _prompt(self, level: Level) -> PromptBlock:
        return PromptBlock(
            level.width,
            length=self.config.prompt_length,
            dim=level.prompt_dim,
            size=level.prompt_size,
            heads=self.config.prompt_heads,
            inner=self.config.prompt_inner,
        )

    def stage(self, level: Level, width: int, blocks: int) -> Stage:
        """Build the blocks of a level, see `UNet.stage`."""
        return Stage(self._block(level, width, i, dual=level.dual) for i in range(blocks))

    def _block(self, level: Level, width: int, index: int, *, dual: bool) -> nn.Module:
        config = self.config
        every = level.mix_every if config.block == "gated" else 1
        spatial, channel = self._branches(index // every) if dual else (False, True)
        if config.block == "gated":
            mixes = (index + 1) % every == 0
            return self._gated_block(width, level.heads, spatial and mixes, channel and mixes)
        attention = ChannelAttention(width, level.heads) if channel else None
        if not dual and attention is not None:
            return PlainBlock(width, attention, config.ffn_expand)
        scan = None
        if spatial:
            orders = next(self._orders)
            scan = VisionSSM(width, d_state=config.d_state, expand=config.expand, orders=orders)
        return DualBlock(width, attention, scan, config.ffn_expand, config.fusion)

    def _branches(self, turn: int) -> tuple[bool, bool]:
        """Return whether a dual block has the spatial and the channel branch."""
        if self.config.branches == "turns":
            return turn % 2 == 0, turn % 2 == 1
        return self.config.branches != "channel", self.config.branches != "spatial"

    def _gated_block(self, width: int, heads: int, spatial: bool, channel: bool) -> GatedUnit:
        config, inner = self.config, round(width * self.config.expand)
        scan = None
        if spatial:
            orders = next(self._orders)
            scan = ImageScan(
                inner,
                config.d_state,
                None,
                orders,
                normalize=config.scan_norm,
                smooth=config.scan_smooth,
            )
        return GatedUnit(
            width,
            expand=config.expand,
            scan=scan,
            mixer=GramAttention(inner, heads) if channel else None,
            parallel=True,
            layer_scale=config.layer_scale,
        )


_PAPER = "MTAIR (arXiv 2412.15845)"
RECORDS = (
    ModelRecord("mtair_base", MTAIR, MTAIRConfig(), ("denoise", "derain", "dehaze"), _PAPER,
                whole_megapixels=0.25, tile=256, overlap=32),
    ModelRecord("mtair_small", MTAIR, SMALL, ("denoise", "derain", "dehaze"), _PAPER,
                whole_megapixels=1.0, tile=1024, overlap=32, whole_latent=True),
    ModelRecord("mtair_tiny", MTAIR, TINY, ("denoise", "derain", "dehaze"), _PAPER,
                whole_megapixels=1.0, tile=1024, overlap=32),
)  # fmt: skip
