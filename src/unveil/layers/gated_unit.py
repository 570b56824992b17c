"""The gated depth-wise unit, and what may stand inside it.

norm → 1×1 expand → depth-wise 3×3 → gate (product of the halves) → mixer → 1×1 → scaled residual.
The shape is NAFNet's (arXiv 2204.04676); as mixer it takes a selective scan over the image, a
selective scan over the channels, pooled channel attention, or nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unveil.layers.channel_ssm import ChannelSSM, ChannelSSMOptions
from unveil.layers.context import Context, ImageWide
from unveil.layers.convolution import Conv3x3
from unveil.layers.scan import ImageScan


class PooledAttention(ImageWide):
    """NAFNet's simplified channel attention: factors of channels, linear in the channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)
        nn.init.normal_(self.linear.weight, std=0.1 * channels**-0.5)
        nn.init.ones_(self.linear.bias)

    def factors(self, x: Tensor, context: Context | None = None) -> Tensor:
        """Return the factors of ``(b, h, w, c)``, as ``(b, c)``."""
        mean = self.image_statistic(lambda: x.mean((1, 2)), context)
        factors: Tensor = self.linear(mean)
        return factors


Mixer = ImageScan | ChannelSSM | PooledAttention


class GatedUnit(nn.Module):
    """Gated depth-wise unit with an optional mixer.

    Args:
        channels: Channels of input and output.
        expand: Inner width over `channels`.
        mixer: ``"none"``, ``"attention"`` (pooled), ``"channel"`` (SSM over channels) or an
            `ImageScan` of the inner width.
        channel_options: For the channel SSM.
        layer_scale: Initial factor of the residual branch.
        depthwise: Whether there is a depth-wise convolution; without it the unit is a gated FFN.
    """

    def __init__(
        self,
        channels: int,
        *,
        expand: float = 1.0,
        mixer: ImageScan | str = "none",
        channel_options: ChannelSSMOptions | None = None,
        layer_scale: float = 0.1,
        depthwise: bool = True,
    ) -> None:
        super().__init__()
        inner = round(channels * expand)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, 2 * inner, bias=False)
        self.conv = Conv3x3(2 * inner, 2 * inner, groups=2 * inner) if depthwise else None
        self.mixer: Mixer | None = _mixer(mixer, inner, channel_options)
        self.project = nn.Linear(inner, channels, bias=False)
        self.layer_scale = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """Map ``(b, h, w, channels)`` to the same shape."""
        y = self.expand(self.norm(x))
        y = y if self.conv is None else self.conv(y)
        first, second = y.chunk(2, -1)
        y = first * second
        # What acts on channels alone goes into the output's weights: no pass over the image.
        weight = self.project.weight * self.layer_scale[:, None]
        if isinstance(self.mixer, ImageScan):
            y = self.mixer(y)
        elif isinstance(self.mixer, PooledAttention):
            return x + _project(y, weight * self.mixer.factors(y, context)[:, None])
        elif isinstance(self.mixer, ChannelSSM):
            if self.mixer.options.form == "matrix":
                return x + _project(y, weight @ self.mixer.matrix(y, context))
            y = self.mixer(y, context)
        return x + F.linear(y, weight)


def _project(y: Tensor, weight: Tensor) -> Tensor:
    """Apply one matrix ``(c_out, c_in)`` per image to ``(b, h, w, c_in)``."""
    b, h, w, c = y.shape
    weight = weight.to(y.dtype).expand(b, -1, -1)
    return torch.bmm(y.reshape(b, h * w, c), weight.transpose(1, 2)).view(b, h, w, -1)


def _mixer(
    mixer: ImageScan | str, inner: int, channel_options: ChannelSSMOptions | None
) -> Mixer | None:
    if isinstance(mixer, ImageScan):
        return mixer
    if mixer == "attention":
        return PooledAttention(inner)
    if mixer == "channel":
        return ChannelSSM(inner, channel_options or ChannelSSMOptions(normalize=True))
    return None


class DenseUnit(nn.Module):
    """Two dense 3×3 convolutions with a LeakyReLU between, on a scaled residual."""

    def __init__(self, channels: int, *, expand: float = 1.0, layer_scale: float = 0.1) -> None:
        super().__init__()
        inner = round(channels * expand)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.first = Conv3x3(channels, inner)
        self.second = Conv3x3(inner, channels, bias=False)
        self.layer_scale = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:  # noqa: ARG002
        """Map ``(b, h, w, channels)`` to the same shape."""
        y = F.leaky_relu(self.first(self.norm(x)), 0.2)
        y = self.second(y)
        return x + y * self.layer_scale
