"""The Mamba block and the vision state-space module, on channels-last features."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from unveil.layers.convolution import Depthwise3x3
from unveil.layers.norm import ChannelNorm
from unveil.layers.scan import CausalConv, ImageScan
from unveil.ops import ScanOrder, norm_gate, silu_gate


class MambaBlock(nn.Module):
    """The whole Mamba block over the flattened image (arXiv 2312.00752, figure 3).

    In-projection to 2·E·d, causal depth-wise convolution, SiLU, scan, gate, out-projection.
    With several scan orders the scan runs in each and the causal convolution along the first.

    Args:
        d_model: Channels.
        d_state: States per channel.
        d_conv: Taps of the causal convolution.
        expand: E.
        orders: Scan orders.
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2.0,
        orders: tuple[ScanOrder, ...] = ("row",),
    ) -> None:
        super().__init__()
        d_inner = round(expand * d_model)
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=False)
        self.conv = CausalConv(d_inner, d_conv, orders[0])
        self.scan = ImageScan(d_inner, d_state, math.ceil(d_model / 16), orders)
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, h, w, d_model)`` to the same shape."""
        u, z = (F.linear(x, half) for half in self.in_proj.weight.chunk(2))
        mixed: Tensor = self.out_proj(silu_gate(self.scan(self.conv(u)), z))
        return mixed


class VisionSSM(nn.Module):
    """SS2D: the Mamba block with a 2-D convolution, four scan orders and a norm before the gate.

    Source: VMamba (arXiv 2401.10166), figure 3.

    Args:
        d_model: Channels.
        d_state: States per channel.
        expand: E.
        orders: Scan orders, summed.
    """

    # Part of the scan's group since version 0.1.0, whose checkpoints store parameters by group.
    ssm_parameters = ("norm",)

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 16,
        expand: float = 2.0,
        orders: tuple[ScanOrder, ...] = ("row", "column", "row_reversed", "column_reversed"),
    ) -> None:
        super().__init__()
        d_inner = round(expand * d_model)
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=False)
        self.conv = Depthwise3x3(d_inner, activation="silu")
        self.scan = ImageScan(d_inner, d_state, math.ceil(d_model / 16), orders)
        self.norm = ChannelNorm(d_inner)
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, h, w, d_model)`` to the same shape."""
        u, z = (F.linear(x, half) for half in self.in_proj.weight.chunk(2))
        y = norm_gate(self.scan(self.conv(u)), z, self.norm.weight, self.norm.bias, self.norm.eps)
        mixed: Tensor = self.out_proj(y)
        return mixed
