"""Gated normalisation in groups of channels, with the interface of `mamba_ssm`'s functions.

y = norm(x) SiLU(z), or norm(x SiLU(z)); the mean and the variance are those of each group.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unveil.errors import InputError


def layernorm_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    z: Tensor | None = None,
    eps: float = 1e-6,
    group_size: int | None = None,
    norm_before_gate: bool = True,
    is_rms_norm: bool = False,
) -> Tensor:
    """Normalise the last axis in groups, and gate; computed in fp32 at least.

    Args:
        x: `(..., d)`.
        weight: `(d,)`.
        bias: `(d,)` or None.
        z: Gate shaped as `x`, or None.
        eps: Added to the variance or the mean square.
        group_size: Channels of a group; all of them when None.
        norm_before_gate: Gate the normalised values; otherwise normalise the gated ones.
        is_rms_norm: Divide by the root mean square, without taking the mean out.

    Returns:
        `(..., d)` in the dtype of `x`.

    Raises:
        InputError: The groups do not divide the channels.

    Example:
        >>> layernorm_fn(torch.tensor([1.0, 3.0]), torch.ones(2), None, eps=0.0)
        tensor([-1.,  1.])
    """
    size = x.shape[-1] if group_size is None else group_size
    if x.shape[-1] % size:
        raise InputError(f"group_size is {size}, expected a divisor of {x.shape[-1]} channels")
    wide = torch.promote_types(x.dtype, torch.float32)
    values = x.to(wide)
    if z is not None and not norm_before_gate:
        values = values * F.silu(z.to(wide))
    groups = torch.unflatten(values, -1, (-1, size))
    if is_rms_norm:
        groups = F.rms_norm(groups, (size,), None, eps)
    else:
        groups = F.layer_norm(groups, (size,), None, None, eps)
    y = groups.flatten(-2) * weight.to(wide)
    y = y if bias is None else y + bias.to(wide)
    if z is not None and norm_before_gate:
        y = y * F.silu(z.to(wide))
    return y.to(x.dtype)


def rmsnorm_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    z: Tensor | None = None,
    eps: float = 1e-6,
    group_size: int | None = None,
    norm_before_gate: bool = True,
) -> Tensor:
    """Normalise by the root mean square, and gate; see `layernorm_fn`."""
    return layernorm_fn(x, weight, bias, z, eps, group_size, norm_before_gate, is_rms_norm=True)


def rms_norm_ref(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    z: Tensor | None = None,
    eps: float = 1e-6,
    group_size: int | None = None,
    norm_before_gate: bool = True,
    upcast: bool = True,
) -> Tensor:
    """Normalise as `rmsnorm_fn` does; `upcast` is taken for the interface's sake."""
    del upcast
    return rmsnorm_fn(x, weight, bias, z, eps, group_size, norm_before_gate)


class LayerNorm(nn.Module):
    """Gated layer normalisation.

    Args:
        hidden_size: Channels, d.
        eps: Added to the variance.
        group_size: Channels of a group; all of them when None.
        norm_before_gate: Gate the normalised values; otherwise normalise the gated ones.
        device: Where the parameters live.
        dtype: Dtype of the parameters.

    Example:
        >>> sorted(LayerNorm(4).state_dict())
        ['bias', 'weight']
    """

    bias: nn.Parameter | None
    _is_rms_norm = False

    def __init__(
        self,
        hidden_size: int,
        eps: float = 1e-5,
        group_size: int | None = None,
        norm_before_gate: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.eps, self.group_size, self.norm_before_gate = eps, group_size, norm_before_gate
        self.weight = nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype))
        bias = None if self._is_rms_norm else torch.zeros(hidden_size, device=device, dtype=dtype)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Normalise `(..., d)` and gate with `z`, if given.

        Args:
            x: (..., d).
            z: Shaped as x.
        """
        return layernorm_fn(
            x,
            self.weight,
            self.bias,
            z,
            self.eps,
            self.group_size,
            self.norm_before_gate,
            self._is_rms_norm,
        )


class RMSNormGated(LayerNorm):
    """Gated normalisation by the root mean square; arguments as `LayerNorm`."""

    _is_rms_norm = True
