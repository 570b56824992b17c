"""Normalisation with the residual sum before it, with the interface of `mamba_ssm`'s functions.

total = dropout(x) + residual,  y = weight · (total − mean) / std + bias; RMS: without the mean.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unveil.errors import InputError


def layer_norm_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    x1: Tensor | None = None,
    weight1: Tensor | None = None,
    bias1: Tensor | None = None,
    eps: float = 1e-6,
    dropout_p: float = 0.0,
    rowscale: Tensor | None = None,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    is_rms_norm: bool = False,
    return_dropout_mask: bool = False,
) -> Any:
    """Add a residual and normalise over the last axis; computed in fp32 at least.

    Args:
        x: `(..., d)`.
        weight: `(d,)`.
        bias: `(d,)` or None.
        residual: Shaped as `x`, or None.
        x1: Shaped as `x`, or None: a second input, dropped out by itself and added.
        weight1: `(d,)` or None: return the normalised sum also with this weight.
        bias1: `(d,)` or None, beside `weight1`.
        eps: Added to the variance or the mean square.
        dropout_p: Probability of dropping an entry of `x` and of `x1`.
        rowscale: `(...)` or None: a factor for each row of `x`.
        prenorm: Also return the sum, the residual of the next block.
        residual_in_fp32: Return that sum in fp32 if no residual gives it a dtype.
        is_rms_norm: Divide by the root mean square, without taking the mean out.
        return_dropout_mask: Also return which entries of `x` and of `x1` were kept; None where
            nothing is dropped.

    Returns:
        `(..., d)` in the dtype of `x`. A tuple where more is asked for, in this order: the result
        with `weight1`, the sum, the two masks.

    Raises:
        InputError: A shape does not fit, or `rowscale` comes with `x1`.

    Example:
        >>> rms_norm_fn(torch.tensor([3.0, 4.0]), torch.ones(2), None, eps=0.0).square().mean()
        tensor(1.)
    """
    _check(x, weight, bias, residual, x1, weight1, bias1, rowscale)
    masks = [None if t is None or dropout_p == 0 else _drawn(t, dropout_p) for t in (x, x1)]
    results = _normalise(
        _Inputs(x, residual, x1, rowscale, dropout_p, *masks),
        [(weight, bias)] if weight1 is None else [(weight, bias), (weight1, bias1)],
        eps,
        is_rms_norm,
        None if residual_in_fp32 else x.dtype,
    )
    kept: list[Tensor | None] = [*(results if prenorm else results[:-1])]
    kept += masks if return_dropout_mask else []
    return kept[0] if len(kept) == 1 else tuple(kept)


def rms_norm_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    x1: Tensor | None = None,
    weight1: Tensor | None = None,
    bias1: Tensor | None = None,
    eps: float = 1e-6,
    dropout_p: float = 0.0,
    rowscale: Tensor | None = None,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    return_dropout_mask: bool = False,
) -> Any:
    """Normalise by the root mean square; arguments and results are `layer_norm_fn`'s."""
    return layer_norm_fn(
        *(x, weight, bias, residual, x1, weight1, bias1, eps, dropout_p, rowscale, prenorm),
        *(residual_in_fp32, True, return_dropout_mask),
    )


def layer_norm_ref(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    x1: Tensor | None = None,
    weight1: Tensor | None = None,
    bias1: Tensor | None = None,
    eps: float = 1e-6,
    dropout_p: float = 0.0,
    rowscale: Tensor | None = None,
    prenorm: bool = False,
    dropout_mask: Tensor | None = None,
    dropout_mask1: Tensor | None = None,
    upcast: bool = False,
    *,
    is_rms_norm: bool = False,
) -> Any:
    """Normalise as `layer_norm_fn` does, with masks that are given.

    Arguments and results are its own but for three: `dropout_mask` and `dropout_mask1`, true where
    an entry of `x` and of `x1` is kept, are drawn when None; `upcast` returns the sum in fp32 at
    least. `is_rms_norm` is not part of the original interface.

    Raises:
        InputError: A shape does not fit, or `rowscale` comes with `x1`.
    """
    _check(x, weight, bias, residual, x1, weight1, bias1, rowscale)
    masks = [
        mask if t is None or dropout_p == 0 or mask is not None else _drawn(t, dropout_p)
        for t, mask in ((x, dropout_mask), (x1, dropout_mask1))
    ]
    wide = torch.promote_types(x.dtype, torch.float32)
    results = _normalise(
        _Inputs(x, residual, x1, rowscale, dropout_p, *masks),
        [(weight, bias)] if weight1 is None else [(weight, bias), (weight1, bias1)],
        eps,
        is_rms_norm,
        None,
    )
    results[-1] = results[-1].to(wide if upcast else x.dtype)
    kept = results if prenorm else results[:-1]
    return kept[0] if len(kept) == 1 else tuple(kept)


def rms_norm_ref(*args: Any, **options: Any) -> Any:
    """Normalise by the root mean square; arguments and results are `layer_norm_ref`'s."""
    return layer_norm_ref(*args, **options, is_rms_norm=True)


def layer_norm_linear_fn(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor | None,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-6,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    is_rms_norm: bool = False,
) -> Any:
    """Add a residual and normalise as `layer_norm_fn` does, then map linearly.

    `norm_weight` and `norm_bias` are its `weight` and `bias`; `linear_weight` is `(m, d)`,
    `linear_bias` `(m,)` or None.

    Returns:
        `(..., m)`; with `prenorm`, a pair.

    Raises:
        InputError: A shape does not fit.
    """
    y, total = layer_norm_fn(
        *(x, norm_weight, norm_bias, residual),
        eps=eps,
        prenorm=True,
        residual_in_fp32=residual_in_fp32,
        is_rms_norm=is_rms_norm,
    )
    out = F.linear(y.to(linear_weight.dtype), linear_weight, linear_bias)
    return (out, total) if prenorm else out


class _Inputs(NamedTuple):
    """What is added up before it is normalised; a mask is true where an entry is kept."""

    x: Tensor
    residual: Tensor | None
    x1: Tensor | None
    rowscale: Tensor | None
    dropout_p: float
    mask: Tensor | None
    mask1: Tensor | None

    def total(self) -> Tensor:
        """Return the sum in fp32 at least."""
        wide = torch.promote_types(self.x.dtype, torch.float32)
        total = self.x.to(wide)
        if self.rowscale is not None:
            total = total * self.rowscale.to(wide).reshape(*self.x.shape[:-1], 1)
        total = _masked(total, self.mask, self.dropout_p)
        if self.x1 is not None:
            total = total + _masked(self.x1.to(wide), self.mask1, self.dropout_p)
        return total if self.residual is None else total + self.residual.to(wide)


def _normalise(
    inputs: _Inputs,
    weights: list[tuple[Tensor, Tensor | None]],
    eps: float,
    is_rms_norm: bool,
    kept: torch.dtype | None,
) -> list[Tensor]:
    """Return the result for each weight, then the sum, in the dtype of the residual or `kept`.

    Without either the sum keeps the dtype that it was computed in, fp32 at least.
    """
    total, dtype = inputs.total(), inputs.x.dtype
    results: list[Tensor] = []
    for weight, bias in weights:
        scale, shift = weight.to(total.dtype), None if bias is None else bias.to(total.dtype)
        if is_rms_norm:
            y = F.rms_norm(total, scale.shape, scale, eps)
            y = y if shift is None else y + shift
        else:
            y = F.layer_norm(total, scale.shape, scale, shift, eps)
        results.append(y.to(dtype))
    kept = kept if inputs.residual is None else inputs.residual.dtype
    return [*results, total if kept is None else total.to(kept)]


def _drawn(x: Tensor, dropout_p: float) -> Tensor:
    return torch.rand(x.shape, device=x.device) >= dropout_p


def _masked(x: Tensor, mask: Tensor | None, dropout_p: float) -> Tensor:
    return x if mask is None or dropout_p == 0 else x.masked_fill(~mask, 0.0) / (1.0 - dropout_p)


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    x1: Tensor | None,
    weight1: Tensor | None,
    bias1: Tensor | None,
    rowscale: Tensor | None,
) -> None:
    if x1 is not None and not isinstance(x1, Tensor):
        raise InputError(
            f"x1 is {x1!r}, expected a tensor: pass eps and the other options by their names"
        )
    if x1 is not None and rowscale is not None:
        raise InputError("rowscale cannot be combined with x1, pass one")
    if bias1 is not None and weight1 is None:
        raise InputError("bias1 is given without weight1, pass both")
    rows, d = tuple(x.shape[:-1]), x.shape[-1:]
    for name, value, shape in (
        ("weight", weight, d),
        ("bias", bias, d),
        ("residual", residual, x.shape),
        ("x1", x1, x.shape),
        ("weight1", weight1, d),
        ("bias1", bias1, d),
    ):
        if value is not None and value.shape != shape:
            raise InputError(
                f"{name} has shape {tuple(value.shape)}, expected {tuple(shape)} for x, "
                f"{tuple(x.shape)}"
            )
    if rowscale is not None and rowscale.numel() != math.prod(rows):
        raise InputError(f"rowscale has shape {tuple(rowscale.shape)}, expected {rows}")


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
    ) -> Any:
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
