"""The convolution network that the small variants are timed against."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvolutionYardstick(nn.Module):
    """Twelve dense 3×3 convolutions with 96 channels at half resolution.

    FFDNet-colour's shape (arXiv 1710.04026): 0.85 M parameters, 212 k multiply-adds per pixel, and
    nothing but what CPUs are best at. Channels-last in memory, its faster layout.
    """

    size_multiple = 2

    def __init__(self, depth: int = 12, width: int = 96) -> None:
        super().__init__()
        widths = [12, *[width] * (depth - 1), 12]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 3, padding=1) for c_in, c_out in pairwise(widths)
        )
        # Typed loosely: torch's stubs do not know this form of Module.to.
        to_layout: Any = self.to
        to_layout(memory_format=torch.channels_last)

    def forward(self, degraded: Tensor) -> Tensor:
        """Map ``(b, 3, h, w)`` to the same shape; h and w are even."""
        x = F.pixel_unshuffle(degraded, 2).contiguous(memory_format=torch.channels_last)
        *hidden, last = self.convolutions
        for convolution in hidden:
            x = F.relu(convolution(x))
        return degraded + F.pixel_shuffle(last(x), 2)
