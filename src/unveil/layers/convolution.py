"""Convolutions and resampling on channels-last features ``(b, h, w, c)``."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from unveil.layers.functional import conv2d_last, pixel_shuffle_last, pixel_unshuffle_last


class Conv3x3(nn.Module):
    """A dense or grouped 3×3 convolution, zero-padded to the same size.

    Args:
        c_in: Channels of the input.
        c_out: Channels of the output.
        groups: `c_in` for a depth-wise convolution.
        bias: Whether a bias is added.
        gain: Factor on the initial weights; small for layers that feed a residual.
    """

    def __init__(
        self, c_in: int, c_out: int, *, groups: int = 1, bias: bool = True, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.groups = groups
        bound = gain / math.sqrt(9 * c_in // groups)
        self.weight = nn.Parameter(torch.empty(c_out, c_in // groups, 3, 3).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, h, w, c_in)`` to ``(b, h, w, c_out)``."""
        return conv2d_last(x, self.weight, self.bias, self.groups)


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
        mapped: Tensor = self.linear(pixel_unshuffle_last(x, 2))
        return mapped


class PatchUpsample(nn.Module):
    """Double height and width with one linear layer per pixel: the cheap form."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(c_in, 4 * c_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, h, w, c_in)`` to ``(b, 2 h, 2 w, c_out)``."""
        return pixel_shuffle_last(self.linear(x), 2)


def resampling(form: Literal["convolution", "patch"]) -> tuple[type[nn.Module], type[nn.Module]]:
    """Return the classes that halve and double the size: dense 3×3, or per 2×2 patch."""
    return (Downsample, Upsample) if form == "convolution" else (PatchDownsample, PatchUpsample)
