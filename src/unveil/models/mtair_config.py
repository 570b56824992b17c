"""What an MTAIR is built from, and its small variants."""

from typing import Any, Literal

from pydantic import Field, model_validator

from unveil.layers.convolution import check_resampling
from unveil.models.base import ModelConfig
from unveil.models.unet import UNetLevel, check_outline
from unveil.ops import ScanOrder

_ALL_ORDERS: tuple[ScanOrder, ...] = ("row", "column", "row_reversed", "column_reversed")


class Level(UNetLevel):
    """One level.

    Attributes:
        heads: Heads of the channel attention.
        mix_every: Gated blocks: the branches stand in every so-many-th block of a stage.
        dual: Dual-branch blocks, or plain ones.
        prompt_dim: Channels of the level's prompt.
        prompt_size: Height and width of the level's prompt.
    """

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
        block: ``"paper"`` or ``"gated"`` (see `unveil.models.mtair`).
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
        check_outline(self.levels, self.orders)
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
