"""The residual block around a mixer: add, normalise, mix; with `mamba_ssm`'s interfaces."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unveil.compat.layer_norm import RMSNorm, layer_norm_fn
from unveil.errors import InputError


class SimpleBlock(nn.Module):
    """`mamba_ssm` 1's block: the residual is handed on beside the mixer's result.

    Args:
        dim: Channels.
        mixer_cls: Makes the mixer, given `dim`.
        norm_cls: Makes the normalisation, given `dim`.
        fused_add_norm: Taken for the interface's sake: add and normalise run as one call then.
        residual_in_fp32: Keep the residual in fp32.

    Raises:
        InputError: `fused_add_norm` with another normalisation than `LayerNorm` or `RMSNorm`.

    Example:
        >>> from unveil.compat.mamba_simple import Mamba
        >>> y, residual = SimpleBlock(4, Mamba)(torch.ones(1, 2, 4))
        >>> y.shape, residual.sum().item()
        (torch.Size([1, 2, 4]), 8.0)
    """

    def __init__(
        self,
        dim: int,
        mixer_cls: Callable[[int], nn.Module],
        norm_cls: Callable[[int], nn.Module] = nn.LayerNorm,
        fused_add_norm: bool = False,
        residual_in_fp32: bool = False,
    ) -> None:
        super().__init__()
        self.residual_in_fp32, self.fused_add_norm = residual_in_fp32, fused_add_norm
        self.mixer, self.norm = mixer_cls(dim), norm_cls(dim)
        if fused_add_norm and not isinstance(self.norm, (nn.LayerNorm, RMSNorm)):
            kind = type(self.norm).__name__
            raise InputError(f"fused_add_norm takes LayerNorm or RMSNorm, the norm is {kind}")

    def forward(
        self,
        hidden_states: Tensor,
        residual: Tensor | None = None,
        inference_params: Any = None,
        **mixer_options: Any,
    ) -> tuple[Tensor, Tensor]:
        """Add the residual, normalise, mix.

        Args:
            hidden_states: `(b, l, d)`.
            residual: `(b, l, d)`, or None in the first block.
            inference_params: Passed to the mixer, as the other options.
            mixer_options: Passed to the mixer.

        Returns:
            The mixer's result and the residual for the next block.
        """
        hidden_states, residual = self._add_norm(self.norm, hidden_states, residual)
        mixed = self.mixer(hidden_states, inference_params=inference_params, **mixer_options)
        return mixed, residual

    def _add_norm(
        self, norm: nn.Module, hidden_states: Tensor, residual: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        weight: Tensor = norm.weight  # type: ignore[assignment]
        if self.fused_add_norm:
            result = layer_norm_fn(
                hidden_states,
                weight,
                norm.bias,  # type: ignore[arg-type]
                residual=residual,
                eps=norm.eps,  # type: ignore[arg-type]
                prenorm=True,
                residual_in_fp32=self.residual_in_fp32,
                is_rms_norm=isinstance(norm, RMSNorm),
            )
            assert isinstance(result, tuple)
            return result[0], result[1]
        total = hidden_states if residual is None else hidden_states + residual
        normalised: Tensor = norm(total.to(weight.dtype))
        return normalised, total.float() if self.residual_in_fp32 else total

    def allocate_inference_cache(
        self, batch_size: int, max_seqlen: int, dtype: torch.dtype | None = None, **kwargs: Any
    ) -> Any:
        """Return the mixer's states for decoding.

        Args:
            batch_size: Sequences decoded at a time.
            max_seqlen: Most tokens of each.
            dtype: Of the states; None takes that of the weights.
            **kwargs: Passed on to the mixer.
        """
        mixer: Any = self.mixer
        return mixer.allocate_inference_cache(batch_size, max_seqlen, dtype=dtype, **kwargs)


class Block(SimpleBlock):
    """`mamba_ssm` 2's block: a second normalisation and an MLP may follow the mixer.

    Args:
        dim: Channels.
        mixer_cls: Makes the mixer, given `dim`.
        mlp_cls: Makes the MLP, given `dim`; `nn.Identity` for none.
        norm_cls: Makes each normalisation, given `dim`.
        fused_add_norm: As in `SimpleBlock`.
        residual_in_fp32: As in `SimpleBlock`.
    """

    def __init__(
        self,
        dim: int,
        mixer_cls: Callable[[int], nn.Module],
        mlp_cls: Callable[[int], nn.Module],
        norm_cls: Callable[[int], nn.Module] = nn.LayerNorm,
        fused_add_norm: bool = False,
        residual_in_fp32: bool = False,
    ) -> None:
        super().__init__(dim, mixer_cls, norm_cls, fused_add_norm, residual_in_fp32)
        self.mlp: nn.Module | None = None
        if mlp_cls is not nn.Identity:
            self.norm2, self.mlp = norm_cls(dim), mlp_cls(dim)

    def forward(
        self,
        hidden_states: Tensor,
        residual: Tensor | None = None,
        inference_params: Any = None,
        **mixer_options: Any,
    ) -> tuple[Tensor, Tensor]:
        """Add, normalise, mix, and the same with the MLP; see `SimpleBlock`."""
        hidden_states, residual = super().forward(
            hidden_states, residual, inference_params, **mixer_options
        )
        if self.mlp is not None:
            hidden_states, residual = self._add_norm(self.norm2, hidden_states, residual)
            hidden_states = self.mlp(hidden_states)
        return hidden_states, residual
