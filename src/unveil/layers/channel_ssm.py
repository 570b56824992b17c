"""The selective scan along channels, free of the image's size.

The paper (arXiv 2404.11778) scans the C×L channel map along the channels, every pixel a feature.
Read literally its parameters would depend on the number of pixels. Here A, D and Δ's bias are
shared over positions, and B_t, C_t and Δ_t come from a pooled descriptor of channel t and a learned
embedding of it. Then the scan is a product with one lower-triangular C×C matrix per image,

    M_ts = Δ_s Σ_n C_tn B_sn exp(A_n Σ_{r=s+1..t} Δ_r),   plus D on the diagonal,

so the same layer runs as a scan or as one matrix product (``form``), equal to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unveil.layers.scan import initial_a_log, initial_delta_bias
from unveil.layers.statistics import GlobalStatistics, ImageWide
from unveil.ops import selective_scan


@dataclass(frozen=True)
class ChannelSSMOptions:
    """How channels are scanned.

    Attributes:
        d_state: States per channel, n.
        form: ``"matrix"`` (one product per image) or ``"scan"``.
        directions: 1 scans from the first channel to the last; 2 also back, with the same
            parameters, so that M is full.
        descriptor: The pooled statistic of a channel: its ``"mean"``, or its ``"moments"`` (mean
            and log-power).
        delta: Always ``"pooled"``; stored configurations name it.
        normalize: Scale B_t and C_t to unit length, which bounds a row of M by 2/|A| whatever the
            descriptors hold, and multiply C_t by a learned gain.
        decay: ``"states"``: every state has its own A (Mamba); ``"shared"``: one A (Mamba-2), n
            times cheaper in the matrix form.
        per_token: Channels that make one token of the scan; above 1, M is smaller and shared by
            them.
        d_embed: Width of the tokens' embeddings.
    """

    d_state: int = 16
    form: Literal["matrix", "scan"] = "matrix"
    directions: Literal[1, 2] = 1
    descriptor: Literal["mean", "moments"] = "moments"
    delta: Literal["pooled"] = "pooled"
    normalize: bool = False
    decay: Literal["states", "shared"] = "states"
    per_token: int = 1
    d_embed: int = 16


def semiseparable(
    delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *, both_ways: bool = False
) -> Tensor:
    """Return the matrix of a scan along the last axis of `delta`.

    Args:
        delta: ``(b, c)``, positive.
        A: ``(n,)``, negative, or ``(1,)`` for all states.
        B: ``(b, c, n)``.
        C: ``(b, c, n)``.
        both_ways: Add the scan from the end to the start; the diagonal counts once.

    Returns:
        ``(b, c, c)``, without D; lower triangular unless `both_ways`.

    Source: Mamba-2 (arXiv 2405.21060), section 3; for both ways Hydra (arXiv 2407.09941).

    >>> one = torch.ones(1, 2, 1)
    >>> semiseparable(torch.ones(1, 2), torch.tensor([-1.0]), one, one)[0]
    tensor([[1.0000, 0.0000],
            [0.3679, 1.0000]])
    """
    time = delta.cumsum(-1)
    elapsed = time[:, :, None] - time[:, None, :]
    # Between a channel and a later one the decay runs over what follows the earlier one, so the
    # backward scan's exponent uses the time before each channel instead of after it.
    if both_ways:
        before = time - delta
        backward = before[:, None, :] - before[:, :, None]
        elapsed = torch.where(elapsed > 0, elapsed, backward)
    else:
        # Above the diagonal the exponent would be positive: it is masked before, not after.
        elapsed = elapsed.clamp(min=0.0)
    B = B * delta[..., None]
    if len(A) == 1:
        mixed = (C @ B.transpose(1, 2)) * torch.exp(elapsed * A)
    else:
        mixed = torch.einsum("btn,bsn,btsn->bts", C, B, torch.exp(elapsed[..., None] * A))
    return mixed if both_ways else mixed.tril()


def pooled_moments(x: Tensor) -> Tensor:
    """Return mean and mean square of every channel.

    Args:
        x: ``(b, h, w, c)``.

    Returns:
        ``(b, 2, c)``; the average over equal crops is the whole image's.
    """
    return torch.stack([x.mean((1, 2)), x.square().mean((1, 2))], 1)


class ChannelSSM(ImageWide):
    """Selective scan along the channels of ``(b, h, w, c)``.

    Args:
        channels: Channels; `options.per_token` divides them.
        options: Form, directions, descriptor and so on.
    """

    scan: Callable[..., Any] = staticmethod(selective_scan)
    no_weight_decay = ("embedding", "dt_bias", "A_log", "D", "gain")
    ssm_parameters = ("describe_token", "describe_image", "B_proj", "C_proj", "dt_proj", "dt_bias",
                      "A_log")  # fmt: skip

    def __init__(self, channels: int, options: ChannelSSMOptions) -> None:
        super().__init__()
        self.options = options
        self.length = channels // options.per_token
        pooled = 1 if options.descriptor == "mean" else 2
        embed, states = options.d_embed, options.d_state
        self.embedding = nn.Parameter(torch.randn(self.length, embed))
        self.describe_token = nn.Linear(pooled * options.per_token, embed, bias=False)
        self.describe_image = nn.Linear(pooled * channels, embed, bias=False)
        self.token_norm = nn.LayerNorm(embed)
        self.B_proj = nn.Linear(embed, states, bias=False)
        self.C_proj = nn.Linear(embed, states, bias=False)
        self.dt_proj = nn.Linear(embed, 1, bias=False)
        self.dt_bias = nn.Parameter(initial_delta_bias(self.length))
        self.A_log = nn.Parameter(initial_a_log(states if options.decay == "states" else 1))
        self.D = nn.Parameter(torch.ones(self.length))
        self.gain = nn.Parameter(torch.ones(self.length)) if options.normalize else None

    def measure(self, x: Tensor, places: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return the channels' means, or their moments, ``(b, 1 or 2, c)``.

        Args:
            x: ``(b, h, w, c)``.
            places: Not used.
        """
        return x.mean((1, 2))[:, None] if self.options.descriptor == "mean" else pooled_moments(x)

    def tokens(self, x: Tensor, statistics: GlobalStatistics | None = None) -> Tensor:
        """Return one embedding per token from pooled statistics.

        Args:
            x: ``(b, h, w, c)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.

        Returns:
            ``(b, length, d_embed)``.
        """
        description = self.image_statistic(x, statistics)
        if self.options.descriptor == "moments":
            power = description[:, 1].clamp(min=0.0) + 1e-2
            # Relative mean and log-power keep the descriptor of order one at any noise level.
            description = torch.stack([description[:, 0] * power.rsqrt(), power.log() / 2], 1)
        # Channel c belongs to token c mod length: a pixel's rows of tokens need no copy.
        by_token = description.view(description.shape[0], -1, self.length).transpose(1, 2)
        image = self.describe_image(description.flatten(1))
        tokens = self.embedding + self.describe_token(by_token) + image[:, None]
        normed: Tensor = self.token_norm(tokens)
        return normed

    def parameters_of(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return Δ before softplus ``(b, length)``, A ``(n or 1,)``, B and C ``(b, length, n)``."""
        delta = self.dt_proj(tokens).squeeze(-1) + self.dt_bias
        A = -self.A_log.exp()
        B, C = self.B_proj(tokens), self.C_proj(tokens)
        if self.gain is not None:
            B, C = F.normalize(B, dim=-1), F.normalize(C, dim=-1) * self.gain[:, None]
        return delta, A, B, C

    def token_matrix(self, x: Tensor, statistics: GlobalStatistics | None = None) -> Tensor:
        """Return M of the tokens, D included.

        Args:
            x: ``(b, h, w, c)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.

        Returns:
            ``(b, length, length)``.
        """
        delta, A, B, C = self.parameters_of(self.tokens(x, statistics))
        both_ways = self.options.directions == 2
        M = semiseparable(F.softplus(delta), A, B, C, both_ways=both_ways)
        return M + torch.diag(self.D)

    def folded(
        self, weight: Tensor, x: Tensor, statistics: GlobalStatistics | None = None
    ) -> Tensor:
        """Fold this layer into the matrix that follows it.

        Args:
            weight: ``(c_out, c)``, applied after this layer.
            x: ``(b, h, w, c)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.

        Returns:
            ``(b, c_out, c)``, one matrix per image.
        """
        M = self.token_matrix(x, statistics).to(weight.dtype)
        by_token = weight.view(1, -1, self.length).expand(M.shape[0], -1, -1)
        return torch.bmm(by_token, M).view(M.shape[0], *weight.shape)

    def forward(self, x: Tensor, statistics: GlobalStatistics | None = None) -> Tensor:
        """Mix the channels.

        Args:
            x: ``(b, h, w, c)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.

        Returns:
            Same shape.
        """
        rows = x.reshape(x.shape[0], -1, self.length)
        if self.options.form == "scan":
            return self._scan(rows, x, statistics).reshape(x.shape)
        M = self.token_matrix(x, statistics).to(x.dtype).expand(x.shape[0], -1, -1)
        return torch.bmm(rows, M.transpose(1, 2)).reshape(x.shape)

    def _scan(self, rows: Tensor, x: Tensor, statistics: GlobalStatistics | None) -> Tensor:
        """Scan ``(b, pixels, length)`` along its last axis: every pixel is a feature."""
        delta, A, B, C = self.parameters_of(self.tokens(x, statistics))
        delta = delta[:, None].expand(x.shape[0], rows.shape[1], -1)
        B, C = (item.transpose(1, 2).expand(x.shape[0], -1, -1) for item in (B, C))
        A = A.expand(rows.shape[1], B.shape[1])
        y: Tensor = self.scan(rows, delta, A, B, C, delta_softplus=True) + rows * self.D
        if self.options.directions == 1:
            return y
        B_C = (B * C).sum(1)[:, None]
        u, dt, B, C = (item.flip(-1) for item in (rows, delta, B, C))
        reverse: Tensor = self.scan(u, dt, A, B, C, delta_softplus=True).flip(-1)
        return y + reverse - rows * F.softplus(delta) * B_C
