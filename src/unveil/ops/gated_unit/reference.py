"""The gated depth-wise unit in plain PyTorch operations."""

import torch
import torch.nn.functional as F
from torch import Tensor

from unveil.ops.depthwise_conv.reference import plain_gated_depthwise


def plain_gated_unit(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor | None,
    expand: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    project: Tensor | None,
    *,
    gate: str,
    epsilon: float,
) -> Tensor:
    """Run the unit; arguments as `gated_unit`, already checked.

    Args:
        x: Features (b, h, w, c).
        norm_weight: (c,).
        norm_bias: (c,).
        expand: (2i, c).
        weight: (2i, 1, 3, 3).
        bias: (2i,).
        project: (c, i).
        gate: ``"none"``, ``"silu"`` or ``"gelu"``.
        epsilon: Added to the variance.
    """
    normal = F.layer_norm(x, norm_weight.shape, norm_weight, norm_bias, epsilon)
    y = plain_gated_depthwise(F.linear(normal, expand), weight, bias, gate)
    return y if project is None else add_linear(x, y, project)


def add_linear(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return ``x + y · weightᵀ`` in one pass over the features ``(b, h, w, c)``.

    Args:
        x: (b, h, w, c).
        y: (b, h, w, i).
        weight: (c, i).

    >>> add_linear(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 2), torch.ones(1, 2)).item()
    3.0
    """
    added = torch.addmm(x.flatten(0, 2), y.flatten(0, 2), weight.t())
    return added.view(x.shape)
