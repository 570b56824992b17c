"""The spatial-channel prompt block: learned prompts, mixed per image, joined by cross-attention.

The paper (arXiv 2412.15845) says: prompts mixed by weights from the features, and cross-attention
"from the spatial and from the channel perspective". Here, over space, every
pixel is a query, and a fixed number of pooled prompt tokens are keys and values; over channels the
prompt's channels are queries, the features' channels keys and values. Both are linear in pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unveil.layers.functional import cell_sums, split_heads
from unveil.layers.norm import ChannelNorm
from unveil.layers.statistics import AccumulatedStatistics, GlobalStatistics, ImageWide
from unveil.ops import token_attention
from unveil.ops.gram_attention.reference import cosines


class PromptMixer(ImageWide):
    """Learned prompts, mixed per image by softmax weights from pooled features.

    Args:
        channels: Channels of the features.
        length: Number of prompts.
        dim: Channels of a prompt.
        size: Height and width of a prompt.
    """

    def __init__(self, channels: int, length: int, dim: int, size: int) -> None:
        super().__init__()
        self.to_logits = nn.Linear(channels, length)
        # One direction per prompt plus detail: pure noise would average out in the pooled tokens.
        self.prompts = nn.Parameter(
            torch.randn(length, 1, 1, dim) + 0.1 * torch.randn(length, size, size, dim)
        )

    def measure(self, x: Tensor, places: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return the prompts' weights before softmax, ``(b, length)``.

        Args:
            x: ``(b, h, w, c)``.
            places: Not used.
        """
        logits: Tensor = self.to_logits(x.mean((1, 2)))
        return logits

    def forward(self, x: Tensor, statistics: GlobalStatistics | None = None) -> Tensor:
        """Return the prompt of each image.

        Args:
            x: ``(b, h, w, c)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.

        Returns:
            ``(b, size, size, dim)``.
        """
        weights = self.image_statistic(x, statistics).softmax(-1)
        return torch.einsum("bl,lhwd->bhwd", weights, self.prompts)

    def summary(self, statistic: Tensor) -> Tensor:
        """Return the weights before softmax as they are, ``(b, length)``."""
        return statistic


class _SpatialCross(nn.Module):
    """Pixels attend to pooled prompt tokens.

    The tokens are the same for all pixels of an image, so W_q·K and V·W_o are folded into two
    matrices per image, channels → heads·tokens → channels.
    """

    def __init__(self, channels: int, dim: int, inner: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads, self.grid = heads, grid
        self.query = nn.Linear(channels, inner, bias=False)
        self.norm = ChannelNorm(dim)
        self.key = nn.Linear(dim, inner, bias=False)
        self.value = nn.Linear(dim, inner, bias=False)
        self.out_proj = nn.Linear(inner, channels, bias=False)

    def forward(self, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(b, heads·tokens, channels)`` and ``(b, channels, heads·tokens)``."""
        pooled = F.adaptive_avg_pool2d(prompt.permute(0, 3, 1, 2), self.grid)
        tokens = self.norm(pooled.flatten(2).transpose(1, 2))
        key = split_heads(self.key(tokens), self.heads)
        value = split_heads(self.value(tokens), self.heads)
        query = split_heads(self.query.weight, self.heads, 0)
        out = split_heads(self.out_proj.weight, self.heads)
        to_key = torch.einsum("bthd,hdc->bhtc", key, query) * query.shape[1] ** -0.5
        from_value = torch.einsum("bthd,ohd->boht", value, out)
        return to_key.flatten(1, 2), from_value.flatten(2)


class _ChannelCross(ImageWide):
    """The prompt's channels attend to the features' channels.

    Keys are the features pooled to the prompt's grid, so the cost does not grow with pixels.
    """

    no_weight_decay = ("temperature",)
    summed = True

    def __init__(self, channels: int, dim: int, inner: int, heads: int, cells: int) -> None:
        super().__init__()
        self.heads, self.cells = heads, cells
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.query = nn.Linear(dim, inner, bias=False)
        self.key = nn.Linear(channels, inner, bias=False)
        self.value = nn.Linear(channels, inner, bias=False)
        self.out_proj = nn.Linear(inner, channels, bias=False)

    def forward(self, x: Tensor, prompt: Tensor, statistics: GlobalStatistics | None) -> Tensor:
        """Return the matrix that acts on the features, ``(b, channels, channels)``."""
        cells = self.image_statistic(x, statistics)
        attention = self._attention(_cell_means(cells), prompt.flatten(1, 2))
        values = split_heads(self.value.weight, self.heads, 0)
        out = split_heads(self.out_proj.weight, self.heads)
        return torch.einsum("ohq,bhqk,hkc->boc", out, attention, values)

    def measure(self, x: Tensor, places: Tensor | None = None) -> Tensor:
        """Return the sums over the prompt's cells, ``(b, cells², channels + 1)``.

        Args:
            x: ``(b, h, w, channels)``.
            places: Where in the image each sample lies, see `cell_sums`.
        """
        return cell_sums(x, self.cells, places)

    def _attention(self, pooled: Tensor, prompt: Tensor) -> Tensor:
        """Return ``(b, heads, inner/heads, inner/heads)`` from ``(b, cells, channels | dim)``."""
        query = split_heads(self.query(prompt), self.heads)
        key = split_heads(self.key(pooled), self.heads)
        gram = torch.einsum("bphq,bphk->bhqk", query, key)
        cosine = cosines(gram, query.square().sum(1), key.square().sum(1))
        return (cosine * self.temperature).softmax(-1)


def _cell_means(cells: Tensor) -> Tensor:
    """Return the means of `cell_sums`; cells that no sample has seen get the mean of all."""
    sums, area = cells[..., :-1], cells[..., -1:]
    mean = sums.sum(1, keepdim=True) / area.sum(1, keepdim=True)
    return torch.where(area > 0, sums / area.clamp(min=torch.finfo(area.dtype).tiny), mean)


class PromptBlock(nn.Module):
    """Spatial-channel prompt block: features plus both cross-attentions with the image's prompt.

    The prompt also scales the features' channels, by 1 at first. All other layers here and in the
    network's blocks act on normalised features; removing haze is a gain of the image itself.

    Args:
        channels: Channels of the features.
        length: Number of prompts.
        dim: Channels of a prompt.
        size: Height and width of a prompt.
        heads: Heads of either attention.
        inner: Width of either attention; None is `channels`.
        grid: The prompt is pooled to ``grid²`` tokens for the spatial attention.
    """

    def __init__(
        self,
        channels: int,
        *,
        length: int,
        dim: int,
        size: int,
        heads: int,
        inner: int | None = None,
        grid: int = 4,
    ) -> None:
        super().__init__()
        inner = inner or channels
        self.mixer = PromptMixer(channels, length, dim, size)
        self.norm = ChannelNorm(channels)
        self.spatial = _SpatialCross(channels, dim, inner, heads, grid)
        self.channel = _ChannelCross(channels, dim, inner, heads, size)
        self.gain = nn.Linear(dim, channels)
        nn.init.zeros_(self.gain.weight)
        nn.init.ones_(self.gain.bias)

    def forward(self, x: Tensor, statistics: GlobalStatistics | None = None) -> Tensor:
        """Map features to the same shape.

        Args:
            x: ``(b, h, w, channels)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.
        """
        prompt = self.mixer(x, statistics)
        y = self.norm(x)
        matrix = self.channel(y, prompt, statistics)
        if prompt.shape[0] != matrix.shape[0]:
            # One prompt for all images, as a task gives it.
            prompt = prompt.expand(matrix.shape[0], -1, -1, -1)
        gain = self.gain(prompt.mean((1, 2)))
        matrices = (*self.spatial(prompt), matrix)
        return token_attention(x, y, gain, *matrices, heads=self.spatial.heads)

    def add_statistics(self, x: Tensor, statistics: AccumulatedStatistics) -> None:
        """Add a tile's features to the statistics of their image.

        Args:
            x: ``(1, h, w, channels)``.
            statistics: Of the image.
        """
        own = statistics.part.cut(x)
        statistics.add(self.mixer, own)
        statistics.add(self.channel, self.norm(own))
