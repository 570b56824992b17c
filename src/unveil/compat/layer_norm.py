"""Normalisation with the residual sum before it, with the interface of `mamba_ssm`'s functions.

total = dropout(x) + residual,  y = weight · (total − mean) / std + bias; RMS: without the mean.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def layer_norm_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    *,
    eps: float = 1e-6,
    dropout_p: float = 0.0,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    is_rms_norm: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Add a residual and normalise over the last axis; computed in fp32 at least.

    Args:
        x: `(..., d)`.
        weight: `(d,)`.
        bias: `(d,)` or None.
        residual: Shaped as `x`, or None.
        eps: Added to the variance or the mean square.
        dropout_p: Probability of dropping an entry of `x`.
        prenorm: Also return the sum, the residual of the next block.
        residual_in_fp32: Return that sum in fp32 if no residual gives it a dtype.
        is_rms_norm: Divide by the root mean square, without taking the mean out.

    Returns:
        `(..., d)` in the dtype of `x`; with `prenorm`, a pair.

    Example:
        >>> rms_norm_fn(torch.tensor([3.0, 4.0]), torch.ones(2), None, eps=0.0).square().mean()
        tensor(1.)
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    total = F.dropout(x, dropout_p).to(wide)
    kept = wide if residual_in_fp32 else x.dtype
    if residual is not None:
        kept = residual.dtype
        total = total + residual.to(wide)
    scale, shift = weight.to(wide), None if bias is None else bias.to(wide)
    if is_rms_norm:
        y = F.rms_norm(total, scale.shape, scale, eps)
        y = y if shift is None else y + shift
    else:
        y = F.layer_norm(total, scale.shape, scale, shift, eps)
    return (y.to(x.dtype), total.to(kept)) if prenorm else y.to(x.dtype)


def rms_norm_fn(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None = None, **options: Any
) -> Tensor | tuple[Tensor, Tensor]:
    """Normalise by the root mean square; arguments and results are `layer_norm_fn`'s."""
    return layer_norm_fn(x, weight, bias, residual, is_rms_norm=True, **options)


def layer_norm_ref(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-6,
    *,
    upcast: bool = False,
    **options: Any,
) -> Tensor | tuple[Tensor, Tensor]:
    """Normalise as `layer_norm_fn` does; `upcast` is taken for the interface's sake."""
    del upcast
    return layer_norm_fn(x, weight, bias, residual, eps=eps, **options)


def rms_norm_ref(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-6,
    *,
    upcast: bool = False,
    **options: Any,
) -> Tensor | tuple[Tensor, Tensor]:
    """Normalise as `rms_norm_fn` does; `upcast` is taken for the interface's sake."""
    del upcast
    return rms_norm_fn(x, weight, bias, residual, eps=eps, **options)


class RMSNorm(nn.Module):
    """Normalise by the root mean square over the last axis.

    Args:
        hidden_size: Length of that axis, d.
        eps: Added to the mean square.
        dropout_p: Probability of dropping an entry of the input in training.
        device: Where the weight lives.
        dtype: Dtype of the weight.

    Example:
        >>> sorted(RMSNorm(4).state_dict())
        ['weight']
    """

    def __init__(
        self,
        hidden_size: int,
        eps: float = 1e-5,
        dropout_p: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.eps, self.dropout_p = eps, dropout_p
        self.weight = nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype))
        self.register_parameter("bias", None)

    def forward(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        prenorm: bool = False,
        residual_in_fp32: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Normalise `(..., d)`; see `layer_norm_fn`.

        Args:
            x: (..., d).
            residual: Shaped as x; added before.
            prenorm: Whether to return the sum, too.
            residual_in_fp32: Whether the sum is kept in float32.
        """
        return rms_norm_fn(
            x,
            self.weight,
            None,
            residual,
            eps=self.eps,
            dropout_p=self.dropout_p if self.training else 0.0,
            prenorm=prenorm,
            residual_in_fp32=residual_in_fp32,
        )
