"""The gated depth-wise unit and its mixers.

norm → 1×1 expand → depth-wise 3×3 → gate (product of the halves) → mixer → 1×1 → scaled residual.
The shape is NAFNet's (arXiv 2204.04676). Mixers: a selective scan over the image, and, over
channels, a selective scan or self-attention; one after the other, side by side, or none.
"""

from collections.abc import Generator

import torch
from torch import Tensor, nn

from unveil.layers.attention import GramAttention, project_per_image
from unveil.layers.channel_ssm import ChannelSSM
from unveil.layers.convolution import GatedDepthwise3x3
from unveil.layers.norm import ChannelNorm
from unveil.layers.scan import ImageScan
from unveil.layers.statistics import AccumulatedStatistics, GlobalStatistics
from unveil.ops import gated_unit, pointwise_conv

ChannelMixer = ChannelSSM | GramAttention


class GatedUnit(nn.Module):
    """Gated depth-wise unit with optional mixers.

    Args:
        channels: Channels of input and output.
        expand: Inner width over `channels`.
        scan: A scan over the image, of the inner width.
        mixer: A mixer of the inner width's channels.
        parallel: Add the scan's and the mixer's branches; else the mixer follows the scan.
        layer_scale: Initial factor of the residual branch.
        depthwise: Whether there is a depth-wise convolution; without it the unit is a gated FFN.
    """

    def __init__(
        self,
        channels: int,
        *,
        expand: float = 1.0,
        scan: ImageScan | None = None,
        mixer: ChannelMixer | None = None,
        parallel: bool = False,
        layer_scale: float = 0.1,
        depthwise: bool = True,
    ) -> None:
        super().__init__()
        inner = round(channels * expand)
        self.norm = ChannelNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, 2 * inner, bias=False)
        self.conv = GatedDepthwise3x3(inner) if depthwise else None
        self.scan, self.mixer = scan, mixer
        self.project = nn.Linear(inner, channels, bias=False)
        both = parallel and scan is not None and mixer is not None
        self.project_scan = nn.Linear(inner, channels, bias=False) if both else None
        self.layer_scale = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor, statistics: GlobalStatistics | None = None) -> Tensor:
        """Map features to the same shape.

        Args:
            x: ``(b, h, w, channels)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.
        """
        if self.conv is not None and self.scan is None and self.mixer is None:
            return self._gated(x, self.conv, self._scaled(self.project))
        return self._mixed(*self._until_mixed(x), statistics)

    def in_parts(
        self, held: list[Tensor], statistics: AccumulatedStatistics
    ) -> Generator[None, None, None]:
        """Map a tile's features; with a mixer, pause once, see `Stage.in_parts`.

        Args:
            held: The features, ``(1, h, w, channels)``, replaced by the result.
            statistics: Of the image.
        """
        if self.mixer is None or not statistics.gathers(self.mixer):
            held.append(self(held.pop(), statistics))
            return
        held.extend(self._until_mixed(held.pop()))
        statistics.add(self.mixer, statistics.part.cut(held[-1]))
        yield
        y, x = held.pop(), held.pop()
        held.append(self._mixed(x, y, statistics))

    def _until_mixed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features to add to, and those that the mixer takes."""
        if self.conv is None:
            first, second = self.expand(self.norm(x)).chunk(2, -1)
            y = first * second
        else:
            y = self._gated(x, self.conv)
        if self.project_scan is not None and self.scan is not None:
            x = pointwise_conv(self.scan(y), self._scaled(self.project_scan), x)
        elif self.scan is not None:
            y = self.scan(y)
        return x, y

    def _gated(self, x: Tensor, conv: GatedDepthwise3x3, project: Tensor | None = None) -> Tensor:
        """Return what passes the gate, or, with `project`, the unit's output, in one pass."""
        return gated_unit(
            x,
            self.norm.weight,
            self.norm.bias,
            self.expand.weight,
            conv.weight,
            conv.bias,
            project,
            gate=conv.gate,
            epsilon=self.norm.eps,
        )

    def _scaled(self, linear: nn.Linear) -> Tensor:
        return linear.weight * self.layer_scale[:, None]

    def _mixed(self, x: Tensor, y: Tensor, statistics: GlobalStatistics | None) -> Tensor:
        """Mix y's channels, project, add x; what is one matrix per image goes into the weights."""
        weight = self._scaled(self.project)
        if self.mixer is None:
            return pointwise_conv(y, weight, x)
        if isinstance(self.mixer, ChannelSSM) and self.mixer.options.form == "scan":
            return pointwise_conv(self.mixer(y, statistics), weight, x)
        return project_per_image(y, self.mixer.folded(weight, y, statistics), x)
