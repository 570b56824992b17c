"""MTAIR: one network for several degradations, of Mamba and Transformer branches and prompts.

Paper: Jiang et al., "Multi-dimensional Visual Prompt Enhanced Image Restoration via
Mamba-Transformer Aggregation", arXiv 2412.15845.

Figure → class: the network `MTAIR`; M-T DN, the dual-branch network, `DualBlock` (channel
self-attention beside a 2-D selective scan); the plain block `PlainBlock`; S-C PB, the
spatial-channel prompt block, `unveil.layers.prompt.PromptBlock`; the vision state-space module
`unveil.layers.mamba.VisionSSM`.

Option of the published class → field: dim `levels[0].width`, num_blocks `levels[l].encoder`,
num_refinement_blocks `refinement`, heads `levels[l].heads`, ffn_expansion_factor `ffn_expand`;
prompt_dim and prompt_size of a level, prompt_len `prompt_length`, lin_dim its `width`.

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
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from unveil.errors import InputError
from unveil.layers.attention import ChannelAttention, GatedFeedForward, GramAttention
from unveil.layers.convolution import Conv3x3, Merge, check_resampling
from unveil.layers.gated_unit import GatedUnit
from unveil.layers.mamba import VisionSSM
from unveil.layers.norm import ChannelNorm
from unveil.layers.prompt import PromptBlock, PromptMixer
from unveil.layers.scan import ImageScan
from unveil.layers.stage import Stage
from unveil.layers.statistics import AccumulatedStatistics, GlobalStatistics
from unveil.models.base import ModelConfig
from unveil.models.record import ModelRecord
from unveil.models.unet import Pauses, UNet
from unveil.ops import ScanOrder

_ALL_ORDERS: tuple[ScanOrder, ...] = ("row", "column", "row_reversed", "column_reversed")


class Level(ModelConfig):
    """One level of the U-Net.

    Attributes:
        width: Channels.
        encoder: Blocks on the way down; for the last level, the latent's blocks.
        decoder: Blocks on the way up; 0 for the last level.
        heads: Heads of the channel attention.
        mix_every: Gated blocks: the branches stand in every so-many-th block of a stage.
        dual: Dual-branch blocks, or plain ones.
        prompt_dim: Channels of the level's prompt.
        prompt_size: Height and width of the level's prompt.
    """

    width: int = Field(gt=0)
    encoder: int = Field(ge=0, le=32)
    decoder: int = Field(default=0, ge=0, le=32)
    heads: int = Field(default=1, gt=0)
    mix_every: int = Field(default=1, gt=0)
    dual: bool = True
    prompt_dim: int = Field(gt=0)
    prompt_size: int = Field(gt=0)


class MTAIRConfig(ModelConfig):
    """What an MTAIR is built from; the defaults are `mtair_base`.

    Attributes:
        levels: From full size (level 1) to the latent.
        refinement: Plain blocks after the decoder.
        stem_factor: The network works at 1/this of the image's size.
        embed_bias: Whether the patch embedding has a bias. The blocks see normalised features:
            without one, dark and bright are the same to them.
        block: ``"paper"`` or ``"gated"`` (module docstring).
        prompts: Whether there are prompts, on the skips and after the latent.
        prompt_length: Prompts per prompt block.
        prompt_heads: Heads of the prompts' attentions.
        prompt_inner: Width of the prompts' attentions; None is the level's.
        branches: Which branches dual blocks have; with ``"turns"`` those of a stage that would have
            both have one of them in turn, the scan first.
        fusion: How both branches of a paper block are joined: the ``"sum"``, each with a learned
            factor per channel, or a 1×1 convolution of both (``"concat"``).
        d_state: States per channel of the scan.
        expand: E of the scan in paper blocks; inner width of gated units.
        ffn_expand: Inner width of feed-forwards, in paper blocks.
        scan_norm: Normalise B and C of the scans (gated blocks).
        scan_smooth: Smooth what the scans' states contribute (gated blocks).
        orders: Scan orders of the dual blocks, taken in turn.
        layer_scale: Initial factor of residual branches of gated units.
        merge_first: Whether a 1×1 convolution brings level 1's joined skip back to its width.
        sampling: Down- and upsampling by 3×3 convolutions or per 2×2 patch.
    """

    levels: tuple[Level, ...] = (
        Level(width=48, encoder=4, decoder=4, heads=1, prompt_dim=64, prompt_size=128),
        Level(width=96, encoder=6, decoder=6, heads=2, prompt_dim=128, prompt_size=64),
        Level(width=192, encoder=6, decoder=6, heads=4, dual=False, prompt_dim=320, prompt_size=32),
        Level(width=384, encoder=8, heads=8, dual=False, prompt_dim=320, prompt_size=16),
    )
    refinement: int = Field(default=4, ge=0, le=32)
    stem_factor: Literal[1, 2, 4] = 1
    embed_bias: bool = False
    block: Literal["paper", "gated"] = "paper"
    prompts: bool = True
    prompt_length: int = Field(default=5, gt=0)
    prompt_heads: int = Field(default=4, gt=0)
    prompt_inner: int | None = Field(default=None, gt=0)
    branches: Literal["both", "turns", "spatial", "channel"] = "both"
    fusion: Literal["sum", "concat"] = "sum"
    d_state: int = Field(default=16, gt=0)
    expand: float = Field(default=2.0, gt=0)
    ffn_expand: float = Field(default=2.66, gt=0)
    scan_norm: bool = False
    scan_smooth: bool = False
    orders: tuple[tuple[ScanOrder, ...], ...] = (_ALL_ORDERS,)
    layer_scale: float = 0.1
    merge_first: bool = False
    sampling: Literal["convolution", "patch"] = "convolution"

    @model_validator(mode="after")
    def _consistent(self) -> "MTAIRConfig":
        if not self.levels or self.levels[-1].decoder:
            raise ValueError("levels must end with the latent, whose decoder has 0 blocks")
        if not self.orders or not all(self.orders):
            raise ValueError("orders must name at least one scan order for every block")
        for level in self.levels:
            width = round(level.width * (self.expand if self.block == "gated" else 1))
            if width % level.heads:
                raise ValueError(f"width {width} does not divide into {level.heads} heads")
            inner = self.prompt_inner or level.width
            if not width:
                raise ValueError("expand leaves no channels inside a unit")
            if self.prompts and inner % self.prompt_heads:
                raise ValueError(f"width {inner} does not divide into {self.prompt_heads} heads")
        if self.fusion == "concat" and self.block == "gated":
            raise ValueError('fusion "concat" needs block "paper"')
        check_resampling(self.sampling, [level.width for level in self.levels])
        return self


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


_PAIRS: tuple[tuple[ScanOrder, ...], ...] = (
    ("row", "column"),
    ("row_reversed", "column_reversed"),
)


_PROMPT: dict[str, Any] = {"prompt_dim": 32, "prompt_size": 4}
SMALL = MTAIRConfig(
    levels=(
        Level(width=48, encoder=2, decoder=2, mix_every=2, dual=False, **_PROMPT),
        Level(width=96, encoder=3, decoder=3, mix_every=3, dual=False, heads=2, **_PROMPT),
        Level(width=160, encoder=8, mix_every=2, heads=4, **_PROMPT),
    ),
    refinement=2,
    stem_factor=2,
    embed_bias=True,
    block="gated",
    prompt_inner=48,
    branches="turns",
    d_state=8,
    expand=1.0,
    scan_norm=True,
    scan_smooth=True,
    orders=_PAIRS,
    merge_first=True,
    sampling="patch",
)
TINY = MTAIRConfig(
    levels=(
        Level(width=16, encoder=1, decoder=1, heads=1, prompt_dim=8, prompt_size=4),
        Level(width=24, encoder=1, heads=2, prompt_dim=8, prompt_size=4),
    ),
    refinement=1,
    stem_factor=2,
    embed_bias=True,
    block="gated",
    d_state=4,
    expand=1.0,
    orders=_PAIRS,
    merge_first=True,
    sampling="patch",
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
