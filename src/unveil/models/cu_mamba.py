"""CU-Mamba: a U-Net of selective state-space blocks over space and over channels.

Paper: Deng, Gu, "CU-Mamba: Selective State Space Models with Channel Learning for Image
Restoration", IEEE MIPR 2024, arXiv 2404.11778.

Figure → class: the U-Net `CUMamba`; the CU-Mamba block `SpatialBlock` then `ChannelBlock`; the
selective SSM (their figure 2) `unveil.layers.mamba.MambaBlock`; the scan over channels
`unveil.layers.channel_ssm.ChannelSSM`.

Equation → code: the recurrence of h_t and y_t `unveil.ops.selective_scan.reference`; Δ_t, B_t and
C_t from the input `unveil.layers.scan.ImageScan`; I' = I + R `RestorationModel.forward`; the loss
`unveil.training.losses`, written ``charbonnier + 0.1*fft`` in a recipe.

Symbol → field of `CUMambaConfig`: C `levels[0].width`, N_l `levels[l].encoder`, E `expand`; the
states `d_state`; L is the number of pixels.

What the paper leaves open, and what is done here:

1. Width 48 and 4-6-6-8 blocks (Restormer's), d_state 16, d_conv 4 (Mamba's).
2. Pre-norm residuals around each sub-block; the head is a 3×3 convolution.
3. Down: 3×3 convolution and pixel-unshuffle; up: 3×3 convolution and pixel-shuffle; the
   concatenated skip returns to the level's width through a 1×1 convolution.
4. The channel SSM's width would be the number of pixels. Here its parameters come from pooled
   descriptors and embeddings of the channels, so that it fits every size; E = 1.
5. An SSM that is switched off leaves the convolutions of its sub-block, so that both off is a plain
   convolutional U-Net.
6. A scan's skip weights D add up to one over its orders; the head starts at a tenth of the usual
   size, which starts the network near the identity; the LeakyReLU's slope is 0.2; the descriptors
   of channels are mean and log-power.

`cu_mamba_small` departs further, for CPUs (``block="gated"``): a pixel-unshuffle stem; in place of
Mamba blocks, with their causal convolution and gate, gated depth-wise units (E = 1) with the bare
scan after the gate; d_state 8, Δ of rank ceil(width / 32); down and up by one linear layer per 2×2
patch; added skips; a scaled residual branch; B and C are normalised; two scan orders per scan,
which alternate from block to block. It has three levels: the scan in every second unit of the
latent stands for the reach of a fourth. The channel SSM, without smoothing after it and folded into
the unit's output projection, is off: in an outline of four levels it cost more time than it gave
(docs/decisions/0004); on it stands in the same units.
"""

from functools import partial
from itertools import cycle
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unveil.layers.channel_ssm import ChannelSSM, ChannelSSMOptions
from unveil.layers.convolution import Conv3x3, Depthwise3x3, Merge
from unveil.layers.gated_unit import GatedUnit
from unveil.layers.mamba import MambaBlock
from unveil.layers.norm import ChannelNorm
from unveil.layers.scan import ImageScan
from unveil.layers.stage import Stage
from unveil.layers.statistics import GlobalStatistics
from unveil.models.base import ModelConfig
from unveil.models.cu_mamba_config import SMALL, TINY, CUMambaConfig, Level, Part
from unveil.models.record import ModelRecord
from unveil.models.unet import UNet
from unveil.ops import silu_gate


class SpatialBlock(nn.Module):
    """LayerNorm → 1×1 → depth-wise 3×3 → Mamba over the flattened image, on a residual.

    Args:
        channels: Channels.
        mixer: The Mamba block, or None when the SSM is switched off.
    """

    def __init__(self, channels: int, mixer: MambaBlock | None) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.pointwise = nn.Linear(channels, channels)
        self.depthwise = Depthwise3x3(channels)
        self.mixer = mixer

    def forward(self, x: Tensor, statistics: GlobalStatistics | None = None) -> Tensor:  # noqa: ARG002
        """Map features to the same shape.

        Args:
            x: ``(b, h, w, channels)``.
            statistics: Not used: the scan has no global statistics.
        """
        y = self.depthwise(self.pointwise(self.norm(x)))
        y = y if self.mixer is None else self.mixer(y)
        out: Tensor = x + y
        return out


class ChannelBlock(nn.Module):
    """LayerNorm → 1×1 → depth-wise 3×3 → selective SSM along the channels → smoothing, residual.

    The pair of convolutions gives the scan's input u and its gate z; u passes a causal convolution
    along the channels and SiLU, as in Mamba. Two depth-wise 3×3 with LeakyReLU smooth the result.

    Args:
        channels: Channels.
        options: Of the channel SSM, or None when it is switched off.
        d_conv: Taps of the causal convolution.
    """

    def __init__(self, channels: int, options: ChannelSSMOptions | None, d_conv: int = 4) -> None:
        super().__init__()
        inner = channels if options is None else 2 * channels
        self.norm = ChannelNorm(channels)
        self.pointwise = nn.Linear(channels, inner)
        self.depthwise = Depthwise3x3(inner)
        self.scan = None if options is None else ChannelSSM(channels, options)
        if options is not None:
            bound = d_conv**-0.5
            self.taps = nn.Parameter(torch.empty(d_conv).uniform_(-bound, bound))
            self.taps_bias = nn.Parameter(torch.zeros(1))
            self.out_proj = nn.Linear(channels, channels, bias=False)
        self.smooth = nn.Sequential(
            Depthwise3x3(channels, activation="leaky_relu"),
            Depthwise3x3(channels, activation="leaky_relu"),
        )

    def forward(self, x: Tensor, statistics: GlobalStatistics | None = None) -> Tensor:
        """Map features to the same shape.

        Args:
            x: ``(b, h, w, channels)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.
        """
        y = self.depthwise(self.pointwise(self.norm(x)))
        if self.scan is not None:
            u, z = y.chunk(2, -1)
            u = F.silu(u @ self._along_channels(u.shape[-1]) + self.taps_bias)
            y = self.out_proj(silu_gate(self.scan(u, statistics), z))
        out: Tensor = x + self.smooth(y)
        return out

    def _along_channels(self, channels: int) -> Tensor:
        """Return the causal convolution as a banded matrix, so that it runs as one product."""
        taps = len(self.taps)
        unit = torch.eye(channels, device=self.taps.device, dtype=self.taps.dtype)
        padded = F.pad(unit[:, None], (taps - 1, 0))
        return F.conv1d(padded, self.taps[None, None])[:, 0]


class CUMamba(UNet):
    """The network: stem, encoder, latent, decoder, head and the global residual.

    Args:
        config: Widths, blocks and switches.
    """

    config_type: ClassVar[type[ModelConfig]] = CUMambaConfig
    config: CUMambaConfig

    def __init__(self, config: CUMambaConfig) -> None:
        super().__init__(config)
        levels, pixels = config.levels, 3 * config.stem_factor**2
        self._orders = cycle(config.orders)
        widths = [level.width for level in levels[:-1]]
        self.stem = Conv3x3(pixels, levels[0].width)
        self.build_encoder()
        self.build_decoder((Merge(w, w) for w in widths if config.skip == "concat"), widths)
        # A small head starts the network near the identity.
        self.head = Conv3x3(levels[0].width, pixels, gain=0.1)
        del self._orders
        self.name_statistics()

    def first(self, pixels: Tensor) -> Tensor:
        """Apply the stem."""
        features: Tensor = self.stem(pixels)
        return features

    def join(
        self,
        level: int,
        x: Tensor,
        skip: Tensor,
        statistics: GlobalStatistics | None,  # noqa: ARG002
    ) -> Tensor:
        """Add the skip, or concatenate and merge, see `UNet.join`."""
        if self.config.skip == "add":
            return x + skip
        joined: Tensor = self.merges[level](x, skip)
        return joined

    def stage(self, level: Level, width: int, blocks: int) -> Stage:  # noqa: ARG002
        """Build the blocks of a level, see `UNet.stage`."""
        return Stage(self._block(level, (i + 1) % level.ssm_every == 0) for i in range(blocks))

    def _block(self, level: Level, with_ssm: bool) -> Stage:
        return Stage(self._part(part, level.width, with_ssm) for part in level.parts)

    def _part(self, part: Part, width: int, with_ssm: bool) -> nn.Module:
        config = self.config
        spatial = part in ("spatial", "joint") and with_ssm and config.spatial_ssm
        channel = part in ("channel", "joint") and with_ssm and config.channel_ssm
        if config.block == "paper" and part in ("spatial", "channel"):
            if part == "spatial":
                return SpatialBlock(width, self._mamba(width) if spatial else None)
            return ChannelBlock(width, config.channel if channel else None, config.d_conv)
        unit = partial(GatedUnit, width, expand=config.unit_expand, layer_scale=config.layer_scale)
        inner = round(width * config.unit_expand)
        return unit(
            scan=self._scan(inner) if spatial else None,
            mixer=ChannelSSM(inner, config.channel) if channel else None,
            depthwise=part != "feedforward",
        )

    def _scan(self, inner: int) -> ImageScan:
        config, orders = self.config, next(self._orders)
        return ImageScan(inner, config.d_state, None, orders, normalize=config.scan_norm)

    def _mamba(self, width: int) -> MambaBlock:
        config = self.config
        return MambaBlock(
            width,
            d_state=config.d_state,
            d_conv=config.d_conv,
            expand=config.expand,
            orders=next(self._orders),
        )


_PAPER = "CU-Mamba (arXiv 2404.11778)"
RECORDS = (
    ModelRecord("cu_mamba_base", CUMamba, CUMambaConfig(), ("denoise", "deblur"), _PAPER,
                whole_megapixels=0.25, tile=256, overlap=32),
    ModelRecord("cu_mamba_small", CUMamba, SMALL, ("denoise",), _PAPER,
                whole_megapixels=1.0, tile=1024, overlap=32),
    ModelRecord("cu_mamba_small_deblur", CUMamba, SMALL, ("deblur",), _PAPER,
                whole_megapixels=1.0, tile=1024, overlap=48),
    ModelRecord("cu_mamba_tiny", CUMamba, TINY, ("denoise",), _PAPER,
                whole_megapixels=1.0, tile=1024, overlap=32),
)  # fmt: skip
