"""The selective scan along channels, free of the image's size.

The paper (arXiv 2404.11778) scans the C×L channel map along the channels, every pixel a feature.
Read literally its parameters would depend on the number of pixels. Here A, D and Δ's bias are
shared over positions, and B_t, C_t and Δ_t come from a pooled descriptor of channel t and a learned
embedding of it. Then the scan is a product with one lower-triangular C×C matrix per image,

    M_ts = Δ_s Σ_n C_tn B_sn exp(A_n Σ_{r=s+1..t} Δ_r),   plus D on the diagonal,

so the same layer runs as a scan or as one matrix product (``form``), equal to rounding.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unveil.layers.context import Context, ImageWide
from unveil.layers.functional import split_heads
from unveil.layers.scan import initial_a_log, initial_delta_bias
from unveil.ops import selective_scan


@dataclass(frozen=True)
class ChannelSSMOptions:
    """How channels are scanned.

    Attributes:
        d_state: States per channel, n.
        form: ``"matrix"`` (one product per image) or ``"scan"``.
        directions: 1 scans from the first channel to the last, 2 also back.
        descriptor: What is pooled from a channel: its ``"mean"``, its ``"moments"`` (mean and
            log-power) or the moments of each cell of a 2×2 ``"grid"``.
        delta: ``"pooled"``, or ``"local"``: Δ also varies by position (scan form only).
        normalize: Scale the rows of M to unit length and start as the identity plus a tenth of it;
            off, the layer is the plain S6.
        decay: ``"states"``: every state has its own A (Mamba); ``"shared"``: one A (Mamba-2), n
            times cheaper in the matrix form.
        d_embed: Width of the channels' embeddings.
    """

    d_state: int = 16
    form: Literal["matrix", "scan"] = "matrix"
    directions: Literal[1, 2] = 1
    descriptor: Literal["mean", "moments", "grid"] = "moments"
    delta: Literal["pooled", "local"] = "pooled"
    normalize: bool = False
    decay: Literal["states", "shared"] = "states"
    d_embed: int = 16


def semiseparable(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return the matrix that a scan along the last axis of `delta` is.

    Args:
        delta: ``(b, c)``, positive.
        A: ``(n,)``, negative, or ``(1,)`` for all states.
        B: ``(b, c, n)``.
        C: ``(b, c, n)``.

    Returns:
        ``(b, c, c)``, lower triangular, without D.

    Source: Mamba-2 (arXiv 2405.21060), section 3, for one A shared by all features.

    >>> one = torch.ones(1, 2, 1)
    >>> semiseparable(torch.ones(1, 2), torch.tensor([-1.0]), one, one)[0]
    tensor([[1.0000, 0.0000],
            [0.3679, 1.0000]])
    """
    time = delta.cumsum(-1)
    elapsed = time[:, :, None] - time[:, None, :]
    later = torch.ones(elapsed.shape[1:], dtype=torch.bool, device=delta.device).tril()
    # Above the diagonal the exponent would be positive: it is masked before, not after.
    elapsed = elapsed.masked_fill(~later, 0.0)
    if len(A) == 1:
        mixed = (C @ B.transpose(1, 2)) * torch.exp(elapsed * A)
    else:
        mixed = torch.einsum("btn,bsn,btsn->bts", C, B, torch.exp(elapsed[..., None] * A))
    return mixed.masked_fill(~later, 0.0) * delta[:, None, :]


def pooled_moments(x: Tensor, cells: int = 1) -> Tensor:
    """Return mean and mean square of every channel, in a ``cells × cells`` grid.

    Args:
        x: ``(b, h, w, c)``.
        cells: Cells per side.

    Returns:
        ``(b, 2, cells², c)``; averaging it over equal crops gives the whole image's.
    """
    if cells == 1:
        return torch.stack([x.mean((1, 2)), x.square().mean((1, 2))], 1)[:, :, None]
    both = torch.cat([x, x.square()], -1).permute(0, 3, 1, 2)
    pooled = F.adaptive_avg_pool2d(both, cells).flatten(2)
    return split_heads(pooled, 2, 1).transpose(2, 3)


class _Direction(nn.Module):
    """S6's parameters of one direction, from channel tokens ``(b, c, e)``."""

    def __init__(self, channels: int, options: ChannelSSMOptions) -> None:
        super().__init__()
        self.d_state, self.normalize = options.d_state, options.normalize
        self.B_proj = nn.Linear(options.d_embed, options.d_state, bias=False)
        self.C_proj = nn.Linear(options.d_embed, options.d_state, bias=False)
        self.dt_proj = nn.Linear(options.d_embed, 1, bias=False)
        self.dt_bias = nn.Parameter(initial_delta_bias(channels))
        self.A_log = nn.Parameter(
            initial_a_log(options.d_state if options.decay == "states" else 1)
        )
        if self.normalize:
            self.gain = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return Δ before softplus ``(b, c)``, A ``(n,)`` or ``(1,)``, B and C ``(b, c, n)``."""
        delta = self.dt_proj(tokens).squeeze(-1) + self.dt_bias
        A = -self.A_log.float().exp()
        B, C = self.B_proj(tokens), self.C_proj(tokens)
        if self.normalize:
            raw = semiseparable(F.softplus(delta), A, B, C)
            length = torch.linalg.vector_norm(raw, dim=-1, keepdim=True)
            C = C * self.gain[:, None] / (length + 1e-4)
        return delta, A, B, C


class ChannelSSM(ImageWide):
    """Selective scan along the channels of ``(b, h, w, c)``.

    Args:
        channels: Channels, the sequence's length.
        options: Form, directions, descriptor and so on.
    """

    def __init__(self, channels: int, options: ChannelSSMOptions) -> None:
        super().__init__()
        self.options = options
        cells = 2 if options.descriptor == "grid" else 1
        features = (1 if options.descriptor == "mean" else 2) * cells**2
        self.cells = cells
        self.embedding = nn.Parameter(torch.randn(channels, options.d_embed))
        self.describe_channel = nn.Linear(features, options.d_embed, bias=False)
        self.describe_image = nn.Linear(features * channels, options.d_embed, bias=False)
        self.token_norm = nn.LayerNorm(options.d_embed)
        self.D = nn.Parameter(torch.ones(channels))
        self.forth = _Direction(channels, options)
        self.back = _Direction(channels, options) if options.directions == 2 else None
        self.local_dt = nn.Linear(channels, 1, bias=False) if options.delta == "local" else None

    def tokens(self, x: Tensor, context: Context | None = None) -> Tensor:
        """Return one token per channel, ``(b, c, d_embed)``, from pooled statistics."""
        if self.options.descriptor == "mean":
            mean = self.image_statistic(lambda: x.mean((1, 2))[:, None, None], context)
            description = mean.flatten(1, 2)
        else:
            moments = self.image_statistic(lambda: pooled_moments(x, self.cells), context)
            power = moments[:, 1].clamp(min=0.0) + 1e-2
            # Relative mean and log-power keep the descriptor of order one at any noise level.
            description = torch.cat([moments[:, 0] * power.rsqrt(), power.log() / 2], 1)
        local = self.describe_channel(description.transpose(1, 2))
        image = self.describe_image(description.flatten(1))
        tokens: Tensor = self.token_norm(self.embedding + local + image[:, None])
        return tokens

    def matrix(self, x: Tensor, context: Context | None = None) -> Tensor:
        """Return the layer as one matrix per image, ``(b, c, c)``, D included."""
        tokens = self.tokens(x, context)
        delta, A, B, C = self.forth(tokens)
        M = semiseparable(F.softplus(delta), A, B, C)
        if self.back is not None:
            delta, A, B, C = self.back(tokens.flip(1))
            M = M + semiseparable(F.softplus(delta), A, B, C).flip(1, 2)
        return M + torch.diag(self.D)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """Mix the channels of ``(b, h, w, c)`` and return the same shape."""
        if self.options.form == "scan":
            return self._scan(x, context)
        b, h, w, c = x.shape
        M = self.matrix(x, context).to(x.dtype).expand(b, c, c)
        return torch.bmm(x.reshape(b, h * w, c), M.transpose(1, 2)).view(b, h, w, c)

    def _scan(self, x: Tensor, context: Context | None) -> Tensor:
        b, h, w, c = x.shape
        # (b, h·w, c) read as (b, d, l): pixels are the features, channels the sequence.
        u = x.reshape(b, h * w, c)
        tokens = self.tokens(x, context)
        local = None if self.local_dt is None else self.local_dt(u)
        y = _scan_channels(u, local, *self.forth(tokens))
        if self.back is not None:
            y = y + _scan_channels(u.flip(-1), local, *self.back(tokens.flip(1))).flip(-1)
        return (y + u * self.D).view(b, h, w, c)


def _scan_channels(
    u: Tensor, local: Tensor | None, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> Tensor:
    """Scan ``(b, pixels, c)`` along c; `local` ``(b, pixels, 1)`` adds to Δ by position."""
    b, pixels, c = u.shape
    delta = delta[:, None, :] if local is None else delta[:, None, :] + local
    y = selective_scan(
        u,
        delta.expand(b, pixels, c),
        A.expand(pixels, B.shape[-1]),
        B.transpose(1, 2).expand(b, -1, -1),
        C.transpose(1, 2).expand(b, -1, -1),
        delta_softplus=True,
    )
    assert isinstance(y, Tensor)
    return y
