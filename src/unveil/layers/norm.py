"""Layer normalisation of channels-last features."""

from torch import Tensor, nn

from unveil.ops import layer_norm


class ChannelNorm(nn.LayerNorm):
    """Normalise each pixel's channels, by a kernel made for tens of them.

    Args:
        channels: Channels.
        eps: Added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of ``(..., channels)``."""
        return layer_norm(x, self.weight, self.bias, self.eps)
