"""Convolutions and resampling on channels-last features ``(b, h, w, c)``."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from unveil.layers.functional import conv2d_last, pixel_shuffle_last, pixel_unshuffle_last
from unveil.ops import depthwise_conv, gated_depthwise, pointwise_conv
from unveil.ops.depthwise_conv import Activation
from unveil.ops.gated_depthwise import Gate

LEAKY_SLOPE = 0.2


class Conv3x3(nn.Module):
    """A dense 3×3 convolution, zero-padded to the same size.

    Args:
        c_in: Channels of the input.
        c_out: Channels of the output.
        bias: Whether a bias is added.
        gain: Factor on the initial weights; small for layers that feed a residual.
    """

    def __init__(self, c_in: int, c_out: int, *, bias: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        bound = gain / math.sqrt(9 * c_in)
        self.weight = nn.Parameter(torch.empty(c_out, c_in, 3, 3).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, h, w, c_in)`` to ``(b, h, w, c_out)``."""
        return conv2d_last(x, self.weight, self.bias)


class Depthwise3x3(nn.Module):
    """A depth-wise 3×3 convolution, zero-padded to the same size, with what follows it.

    Args:
        channels: Channels.
        activation: Applied to the result.
        bias: Whether a bias is added.
    """

    def __init__(
        self, channels: int, *, activation: Activation = "none", bias: bool = True
    ) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.empty(channels, 1, 3, 3).uniform_(-1 / 3, 1 / 3))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, h, w, channels)`` to the same shape."""
        return depthwise_conv(
            x, self.weight, self.bias, self.activation, negative_slope=LEAKY_SLOPE
        )


class GatedDepthwise3x3(nn.Module):
    """A depth-wise 3×3 convolution whose one half of the channels gates the other.

    Args:
        channels: Channels of the output; the input has twice as many.
        gate: What the first half passes before it multiplies the second.
        bias: Whether a bias is added.
    """

    def __init__(self, channels: int, *, gate: Gate = "none", bias: bool = True) -> None:
        super().__init__()
        self.gate = gate
        self.weight = nn.Parameter(torch.empty(2 * channels, 1, 3, 3).uniform_(-1 / 3, 1 / 3))
        self.bias = nn.Parameter(torch.zeros(2 * channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, h, w, 2 · channels)`` to ``(b, h, w, channels)``."""
        return gated_depthwise(x, self.weight, self.bias, self.gate)


class Downsample(nn.Module):
    """Halve height and width: dense 3×3 to a quarter of `c_out`, then pixel-unshuffle."""

    def __init__(self, c_in: int, c_out: int, *, bias: bool = False) -> None:
        super().__init__()
        self.conv = Conv3x3(c_in, c_out // 4, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, h, w, c_in)`` to ``(b, h / 2, w / 2, c_out)``."""
        return pixel_unshuffle_last(self.conv(x), 2)


class Upsample(nn.Module):
    """Double height and width: dense 3×3 to four times `c_out`, then pixel-shuffle."""

    def __init__(self, c_in: int, c_out: int, *, bias: bool = False) -> None:
        super().__init__()
        self.conv = Conv3x3(c_in, 4 * c_out, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, h, w, c_in)`` to ``(b, 2 h, 2 w, c_out)``."""
        return pixel_shuffle_last(self.conv(x), 2)


class PatchDownsample(nn.Module):
    """Halve height and width with one linear layer per 2×2 patch: the cheap form."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * c_in, c_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, h, w, c_in)`` to ``(b, h / 2, w / 2, c_out)``."""
        return pointwise_conv(x, self.linear.weight, sampling="down")


class PatchUpsample(nn.Module):
    """Double height and width with one linear layer per pixel: the cheap form."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(c_in, 4 * c_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, h, w, c_in)`` to ``(b, 2 h, 2 w, c_out)``."""
        return pointwise_conv(x, self.linear.weight, sampling="up")


class Merge(nn.Module):
    """Concatenate two features of the same shape and map them linearly.

    Args:
        channels: Channels of either.
        width: Channels of the result.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Linear(2 * channels, width, bias=False).weight

    def forward(self, x: Tensor, second: Tensor) -> Tensor:
        """Map two feature maps, set side by side along the channels, to one.

        Args:
            x: ``(b, h, w, channels)``.
            second: Shaped as x.

        Returns:
            ``(b, h, w, width)``.
        """
        return pointwise_conv(x, self.weight, second=second)


def check_resampling(form: Literal["convolution", "patch"], widths: Sequence[int]) -> None:
    """Check that a network's levels can be resampled.

    Args:
        form: As for `resampling`.
        widths: Channels of the levels, the finest first.

    Raises:
        ValueError: They cannot.
    """
    uneven = [width for width in widths[1:] if width % 4]
    if form == "convolution" and uneven:
        raise ValueError(
            f'sampling "convolution" needs widths below the first level that divide by 4, not '
            f"{uneven[0]}"
        )


def resampling(form: Literal["convolution", "patch"]) -> tuple[type[nn.Module], type[nn.Module]]:
    """Return the classes that halve and double the size: dense 3×3, or per 2×2 patch."""
    return (Downsample, Upsample) if form == "convolution" else (PatchDownsample, PatchUpsample)
