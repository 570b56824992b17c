"""Self-attention across channels, linear in the number of pixels.

Both forms end in one matrix per image that acts on channels; it is multiplied into the output's
weights, so that a pass over the image is saved.
"""

import torch
from torch import Tensor, nn

from unveil.layers.convolution import Depthwise3x3, GatedDepthwise3x3
from unveil.layers.functional import split_heads
from unveil.layers.statistics import GlobalStatistics, ImageWide
from unveil.ops import channel_gram, gram_attention, pointwise_conv
from unveil.ops.gram_attention.reference import cosines


def project_per_image(x: Tensor, weight: Tensor, residual: Tensor | None = None) -> Tensor:
    """Apply one matrix per image to the channels.

    Args:
        x: ``(b, h, w, c_in)``.
        weight: ``(b, c_out, c_in)``, or ``(1, …)`` for all images.
        residual: ``(b, h, w, c_out)``, added to the result.

    Returns:
        ``(b, h, w, c_out)``.
    """
    return pointwise_conv(x, weight.to(x.dtype), residual)


def _matrix(attention: Tensor, out: Tensor) -> Tensor:
    """Return W_out · blockdiag(attention), ``(b, c, c)``, from ``(b, heads, c/heads, c/heads)``."""
    b, heads, size, _ = attention.shape
    out = out.view(-1, heads, size)
    return torch.einsum("ohq,bhqk->bohk", out, attention).reshape(b, out.shape[0], heads * size)


class ChannelAttention(ImageWide):
    """Multi-head transposed attention: q, k, v by 1×1 and depth-wise 3×3, attention over channels.

    Source: Restormer (arXiv 2111.09881), section 3.1.

    Args:
        channels: Channels.
        heads: Heads; each attends among its own channels.
    """

    no_weight_decay = ("temperature",)

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.query_key = nn.Linear(channels, 2 * channels, bias=False)
        self.query_key_conv = Depthwise3x3(2 * channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        self.value_conv = Depthwise3x3(channels, bias=False)
        self.out_proj = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor, statistics: GlobalStatistics | None = None) -> Tensor:
        """Map features to the same shape.

        Args:
            x: ``(b, h, w, channels)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.
        """
        statistic = self.image_statistic(x, statistics)
        gram, query, key = statistic[..., :-2], statistic[..., -2], statistic[..., -1]
        attention = (cosines(gram, query, key) * self.temperature).softmax(-1)
        value = self.value_conv(self.value(x))
        return project_per_image(value, _matrix(attention, self.out_proj.weight))

    def summary(self, statistic: Tensor) -> Tensor:
        """Return the log-power of every channel's query and key, ``(b, 2·channels)``."""
        return _log(statistic[..., -2:]).flatten(1)

    def measure(self, x: Tensor, places: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return q·kᵀ, |q|² and |k|² as means over pixels, ``(b, heads, c/heads, c/heads + 2)``.

        Args:
            x: ``(b, h, w, channels)``.
            places: Not used.
        """
        both = self.query_key_conv(self.query_key(x)).flatten(1, 2)
        pixels = both.shape[1]
        # (b, pixels, 2, heads, size): every head's channels become rows.
        query, key = split_heads(split_heads(both, 2), self.heads).permute(2, 0, 3, 4, 1)
        gram = query @ key.transpose(-1, -2)
        powers = torch.stack([query.square().sum(-1), key.square().sum(-1)], -1)
        products: Tensor = torch.cat([gram, powers], -1) / pixels
        return products


class GramAttention(ImageWide):
    """Multi-head attention over channels from one inner-product matrix of the input.

    With q = W_q y and k = W_k y, q·kᵀ = W_q (y·yᵀ) W_kᵀ: queries and keys are never stored. The
    values are added directly, v + attention · v. Cosines are at most 1, so at the start of training
    the softmax is nearly uniform and attention alone would pass little more than each head's mean.

    Args:
        channels: Channels.
        heads: Heads.
    """

    no_weight_decay = ("temperature",)

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)

    def folded(
        self, weight: Tensor, y: Tensor, statistics: GlobalStatistics | None = None
    ) -> Tensor:
        """Fold this layer into the matrix that follows it.

        Args:
            weight: ``(c_out, c)``, applied after this layer.
            y: ``(b, h, w, c)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.

        Returns:
            ``(b, c_out, c)``, one matrix per image.
        """
        gram = self.image_statistic(y, statistics)
        weights = self.query.weight, self.key.weight, self.value.weight
        return gram_attention(gram, weight, *weights, self.temperature)

    def measure(self, x: Tensor, places: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return the channels' inner products as means over pixels, ``(b, channels, channels)``.

        Args:
            x: ``(b, h, w, channels)``.
            places: Not used.
        """
        return channel_gram(x)

    def summary(self, statistic: Tensor) -> Tensor:
        """Return the log-power of every channel, ``(b, channels)``."""
        return _log(statistic.diagonal(dim1=-2, dim2=-1))


def _log(power: Tensor) -> Tensor:
    return power.clamp(min=1e-12).log()


class GatedFeedForward(nn.Module):
    """Gated depth-wise feed-forward: 1×1, depth-wise 3×3, GELU of one half times the other, 1×1.

    Source: Restormer (arXiv 2111.09881), section 3.2.

    Args:
        channels: Channels.
        factor: Inner width over `channels`.
    """

    def __init__(self, channels: int, factor: float = 2.66) -> None:
        super().__init__()
        inner = int(channels * factor)
        self.in_proj = nn.Linear(channels, 2 * inner, bias=False)
        self.conv = GatedDepthwise3x3(inner, gate="gelu", bias=False)
        self.out_proj = nn.Linear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, h, w, channels)`` to the same shape."""
        y: Tensor = self.out_proj(self.conv(self.in_proj(x)))
        return y
