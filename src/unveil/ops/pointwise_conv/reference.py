"""The pointwise convolution in plain PyTorch operations."""

import torch
import torch.nn.functional as F
from torch import Tensor


def plain_pointwise(
    x: Tensor, second: Tensor | None, weight: Tensor, residual: Tensor | None, sampling: int
) -> Tensor:
    """Map the channels of features that `pointwise_conv` has checked.

    Args:
        x: Features (b, h, w, c).
        second: Shaped as x, or None.
        weight: (o, i), (b, o, i) or (1, o, i).
        residual: Shaped as the output, or None.
        sampling: 0 for none, 1 for down, 2 for up.

    Returns:
        As `pointwise_conv`.
    """
    if second is not None:
        x = torch.cat([x, second], -1)
    if sampling == 1:
        x = _unshuffled(x)
    if sampling == 2:
        y = _shuffled(_mapped(x, weight, None))
        return y if residual is None else y + residual
    return _mapped(x, weight, residual)


def _mapped(x: Tensor, weight: Tensor, residual: Tensor | None) -> Tensor:
    b, h, w, c = x.shape
    if weight.dim() == 2:
        if residual is None:
            return F.linear(x, weight)
        return torch.addmm(residual.flatten(0, 2), x.flatten(0, 2), weight.t()).view(b, h, w, -1)
    matrix, rows = weight.expand(b, -1, -1).transpose(1, 2), x.reshape(b, h * w, c)
    if residual is None:
        return torch.bmm(rows, matrix).view(b, h, w, -1)
    return torch.baddbmm(residual.reshape(b, h * w, -1), rows, matrix).view(b, h, w, -1)


def _unshuffled(x: Tensor) -> Tensor:
    b, h, w, c = x.shape
    patches = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(2, 3)
    return patches.reshape(b, h // 2, w // 2, 4 * c)


def _shuffled(x: Tensor) -> Tensor:
    b, h, w, c = x.shape
    return x.reshape(b, h, w, 2, 2, c // 4).transpose(2, 3).reshape(b, 2 * h, 2 * w, c // 4)
