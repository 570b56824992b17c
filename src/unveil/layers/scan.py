"""The selective scan over an image, with its input-dependent parameters.

Symbols, as in Mamba (arXiv 2312.00752) and both papers: ``h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t u_t``,
``y_t = C_t h_t + D u_t``, with `delta` = softplus(W_Δ x + bias), B and C linear in the input.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unveil.layers.convolution import Depthwise3x3
from unveil.ops import ScanOrder, causal_conv1d, selective_scan_2d


def initial_a_log(*shape: int) -> Tensor:
    """Return ``log(1 … n)`` along the last axis of `shape`: Mamba's start, A = −exp(A_log).

    >>> initial_a_log(2, 3).exp()[0].round()
    tensor([1., 2., 3.])
    """
    return torch.arange(1.0, shape[-1] + 1).log().expand(shape).clone()


def initial_delta_bias(*shape: int, low: float = 1e-3, high: float = 1e-1) -> Tensor:
    """Return biases whose softplus is log-uniform between two bounds.

    Args:
        shape: Shape of the result.
        low: Lower bound of Δ.
        high: Upper bound of Δ.

    >>> bool((torch.nn.functional.softplus(initial_delta_bias(100)) < 0.11).all())
    True
    """
    delta = torch.exp(torch.rand(shape) * math.log(high / low) + math.log(low))
    return delta + torch.log(-torch.expm1(-delta))


class StateNorm(nn.Module):
    """Root-mean-square normalisation of B and C over the states, with a factor and an offset each.

    Args:
        orders: Scan orders, k.
        d_state: States, n.
    """

    no_weight_decay = ("scale", "bias")

    def __init__(self, orders: int, d_state: int) -> None:
        super().__init__()
        # The states' results are summed: C's share of each keeps the sum of order one.
        start = torch.tensor([1.0, 1 / d_state])[:, None].expand(orders, 2, d_state)
        self.scale, self.bias = nn.Parameter(start.clone()), nn.Parameter(start.clone())

    def forward(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Split ``(…, k, 2 · n)`` into B and C, ``(…, k, n)`` each."""
        both = projected.view(*projected.shape[:-1], 2, -1)
        normed = F.rms_norm(both, (both.shape[-1],), eps=1e-6)
        B, C = torch.addcmul(self.bias, normed, self.scale).unbind(-2)
        return B, C


class ImageScan(nn.Module):
    """S6 over an image in one or more scan orders, each with its own Δ, B, C, A and D.

    Args:
        d_inner: Channels.
        d_state: States per channel, n.
        dt_rank: Rank of Δ's projection; ``ceil(d_inner / 32)`` when None (Mamba's ceil(d_model/16)
            at E = 2).
        orders: Scan orders; their results are summed.
        normalize: Scale B and C of every position to root mean square one, then by a learned factor
            and offset per state. The offsets start the layer as a plain low-pass filter over the
            image; without them it starts at nothing, B and C being products of small features.
            Source: Mamba-3 (arXiv 2603.15569).
        smooth: Smooth what the states contribute by two depth-wise 3×3 convolutions, which start
            as box filters; the skip D·u stays sharp. Each row and column of a scan has an error of
            its own, which shows as bands in an even sky; neighbours average it out.
            Source: the smoothing after the channel SSM of CU-Mamba (arXiv 2404.11778).
    """

    scan = staticmethod(selective_scan_2d)
    no_weight_decay = ("A_log", "D", "dt_bias")
    ssm_parameters = ("x_proj", "dt_weight", "dt_bias", "A_log", "norm")

    def __init__(
        self,
        d_inner: int,
        d_state: int = 16,
        dt_rank: int | None = None,
        orders: tuple[ScanOrder, ...] = ("row",),
        *,
        normalize: bool = False,
        smooth: bool = False,
    ) -> None:
        super().__init__()
        self.orders, self.d_state = orders, d_state
        self.dt_rank = dt_rank or math.ceil(d_inner / 32)
        k = len(orders)
        self.x_proj = nn.Linear(d_inner, k * (self.dt_rank + 2 * d_state), bias=False)
        bound = self.dt_rank**-0.5
        self.dt_weight = nn.Parameter(torch.empty(k, d_inner, self.dt_rank).uniform_(-bound, bound))
        self.dt_bias = nn.Parameter(initial_delta_bias(k, d_inner))
        self.A_log = nn.Parameter(initial_a_log(k, d_inner, d_state))
        # The orders' skips add up to one.
        self.D = nn.Parameter(torch.full((k, d_inner), 1 / k))
        self.norm = StateNorm(k, d_state) if normalize else None
        self.smooth = nn.Sequential(*(_box(d_inner) for _ in range(2))) if smooth else None

    def forward(self, u: Tensor) -> Tensor:
        """Scan ``(b, h, w, d_inner)`` and return the same shape."""
        k, r, n = len(self.orders), self.dt_rank, self.d_state
        projected = self.x_proj(u).view(*u.shape[:3], k, r + 2 * n)
        low_rank, both = projected.split([r, 2 * n], dim=-1)
        B, C = both.chunk(2, -1) if self.norm is None else self.norm(both)
        y: Tensor = self.scan(
            u,
            low_rank,
            -self.A_log.exp(),
            B,
            C,
            self.D if self.smooth is None else None,
            delta_bias=self.dt_bias,
            delta_softplus=True,
            orders=self.orders,
            delta_weight=self.dt_weight,
        )
        if self.smooth is not None:
            for conv in self.smooth:
                y = conv(y)
            y.addcmul_(u, self.D.sum(0))
        return y


def _box(channels: int) -> Depthwise3x3:
    """Return a depth-wise convolution that starts as the mean of 3×3 pixels."""
    conv = Depthwise3x3(channels, bias=False)
    nn.init.constant_(conv.weight, 1 / 9)
    return conv


class CausalConv(nn.Module):
    """Mamba's causal depth-wise convolution along one scan order, and SiLU.

    Args:
        channels: Channels.
        width: Taps; the last one is the present token.
        order: Scan order along which it is causal.
    """

    def __init__(self, channels: int, width: int = 4, order: ScanOrder = "row") -> None:
        super().__init__()
        self.order = order
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(channels, 1, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(b, h, w, c)`` and return the same shape."""
        return causal_conv1d(x, self.weight, self.bias, order=self.order)
