"""What a CU-Mamba is built from, and its small variants."""

from typing import Any, Literal

from pydantic import Field, model_validator

from unveil.layers.channel_ssm import ChannelSSMOptions
from unveil.layers.convolution import check_resampling
from unveil.models.base import ModelConfig
from unveil.models.unet import UNetLevel, check_outline
from unveil.ops import ScanOrder

Part = Literal["spatial", "channel", "joint", "gated", "feedforward"]


class Level(UNetLevel):
    """One level.

    Attributes:
        parts: Sub-blocks of a block, in order. ``spatial`` and ``channel`` hold one SSM each.
            ``joint`` is a gated unit with both; ``gated`` and ``feedforward`` are units without
            one, the latter also without the depth-wise convolution.
        ssm_every: SSMs stand in every so-many-th block; the others go without.
    """

    parts: tuple[Part, ...] = ("spatial", "channel")
    ssm_every: int = Field(default=1, gt=0)


class CUMambaConfig(ModelConfig):
    """What a CU-Mamba is built from; the defaults are `cu_mamba_base`.

    Attributes:
        levels: From full size (level 1) to the latent.
        stem_factor: The network works at 1/this of the image's size.
        block: ``"paper"`` or ``"gated"`` (see `unveil.models.cu_mamba`).
        spatial_ssm: The paper's ablation: off, spatial sub-blocks keep only convolutions.
        channel_ssm: Likewise for the channel sub-blocks.
        d_state: States per channel of the spatial SSM.
        d_conv: Taps of Mamba's causal convolution.
        expand: E of the spatial SSM.
        unit_expand: Inner width of gated units over the level's.
        scan_norm: Normalise B and C of the spatial SSMs (gated blocks).
        orders: Scan orders of the spatial SSMs, taken in turn from block to block.
        channel: The channel SSM.
        layer_scale: Initial factor of residual branches of gated units.
        skip: How encoder features join the decoder.
        sampling: Down- and upsampling by 3×3 convolutions or per 2×2 patch.
    """

    levels: tuple[Level, ...] = (
        Level(width=48, encoder=4, decoder=4),
        Level(width=96, encoder=6, decoder=6),
        Level(width=192, encoder=6, decoder=6),
        Level(width=384, encoder=8),
    )
    stem_factor: Literal[1, 2, 4] = 1
    block: Literal["paper", "gated"] = "paper"
    spatial_ssm: bool = True
    channel_ssm: bool = True
    d_state: int = Field(default=16, gt=0)
    d_conv: int = Field(default=4, gt=0)
    expand: float = Field(default=2.0, gt=0)
    unit_expand: float = Field(default=1.0, gt=0)
    scan_norm: bool = False
    orders: tuple[tuple[ScanOrder, ...], ...] = (("row",),)
    channel: ChannelSSMOptions = ChannelSSMOptions()
    layer_scale: float = 0.1
    skip: Literal["concat", "add"] = "concat"
    sampling: Literal["convolution", "patch"] = "convolution"

    @model_validator(mode="after")
    def _consistent(self) -> "CUMambaConfig":
        check_outline(self.levels, self.orders)
        if min(self.channel.per_token, self.channel.d_state, self.channel.d_embed) < 1:
            raise ValueError("channel.per_token, d_state and d_embed must be at least 1")
        joint = any("joint" in level.parts for level in self.levels)
        inner = self.unit_expand if self.block == "gated" else 1
        widths = [round(level.width * inner) for level in self.levels]
        uneven = [width for width in widths if width % self.channel.per_token]
        if uneven:
            raise ValueError(f"channel.per_token does not divide the width {uneven[0]}")
        if joint and self.block == "paper":
            raise ValueError('the part "joint" needs block "gated"')
        if not all(widths):
            raise ValueError("unit_expand leaves no channels inside a unit")
        check_resampling(self.sampling, [level.width for level in self.levels])
        return self


_CHANNEL: dict[str, Any] = {
    "directions": 2,
    "descriptor": "mean",
    "normalize": True,
    "decay": "shared",
    "per_token": 2,
}
SMALL = CUMambaConfig(
    levels=(
        Level(width=48, encoder=2, decoder=2, parts=("gated",)),
        Level(width=96, encoder=3, decoder=3, parts=("gated",)),
        Level(width=160, encoder=6, parts=("joint",), ssm_every=2),
    ),
    stem_factor=2,
    block="gated",
    channel_ssm=False,
    d_state=8,
    scan_norm=True,
    orders=(("row", "column"), ("row_reversed", "column_reversed")),
    channel=ChannelSSMOptions(d_state=8, **_CHANNEL),
    skip="add",
    sampling="patch",
)
TINY = CUMambaConfig(
    levels=(
        Level(width=16, encoder=1, decoder=1, parts=("spatial", "channel")),
        Level(width=24, encoder=1, parts=("spatial", "channel")),
    ),
    stem_factor=2,
    block="gated",
    d_state=4,
    orders=(("row", "column"), ("row_reversed", "column_reversed")),
    channel=ChannelSSMOptions(d_state=4, **_CHANNEL),
    skip="add",
    sampling="patch",
)
