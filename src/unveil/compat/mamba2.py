"""The Mamba-2 block, with `mamba_ssm`'s constructor, parameter names and initial values.

`in_proj` makes a gate z, the input x, B, C and the step sizes at once; x, B and C pass a causal
convolution and SiLU; the scan's result is normalised, gated by SiLU(z) and mapped back.

Source: Mamba-2 (arXiv 2405.21060), figure 6 and section 7.
"""

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unveil.compat.causal_conv1d import (
    causal_conv1d_fn,
    causal_conv1d_update,
    causal_conv1d_varlen_states,
)
from unveil.compat.layernorm_gated import RMSNormGated
from unveil.compat.mamba2_base import Mamba2Base
from unveil.compat.mamba_simple import cached_states, undecayed
from unveil.compat.selective_state_update import selective_state_update
from unveil.compat.ssd_combined import mamba_chunk_scan_combined, mamba_split_conv1d_scan_combined
from unveil.compat.utilities import Cache, InferenceParams
from unveil.errors import InputError


class Mamba2(Mamba2Base):
    """A Mamba-2 block on sequences `(b, l, d_model)`.

    Args:
        d_model: Channels in and out.
        d_state: States per channel, n.
        d_conv: Taps of the causal convolution.
        conv_init: Bound of the convolution's uniform initial weights; PyTorch's own when None.
        expand: Inner channels per channel.
        headdim: Channels of a head, p.
        d_ssm: Inner channels that are scanned; the others pass a gated MLP. All when None.
        ngroups: Groups of heads that share B and C, g.
        A_init_range: Range of the uniform initial decays.
        D_has_hdim: Give every channel its own D, not every head.
        rmsnorm: Normalise before the output projection; otherwise gate alone.
        norm_before_gate: Gate the normalised values; otherwise normalise the gated ones.
        dt_min: Smallest initial step size.
        dt_max: Largest initial step size.
        dt_init_floor: Step sizes never start below it.
        dt_limit: Range that step sizes are held to.
        bias: Whether the outer projections have a bias.
        conv_bias: Whether the convolution has one.
        chunk_size: Taken for the interface's sake, as are the next and `sequence_parallel`.
        use_mem_eff_path: There is one path here.
        layer_idx: Number of this layer, the key of its cache when decoding.
        process_group: Not supported; None.
        sequence_parallel: Not used.
        device: Where the parameters live.
        dtype: Dtype of the parameters.

    Raises:
        InputError: The heads do not divide the channels, or a process group is given.

    Example:
        >>> Mamba2(8, d_state=4, headdim=4)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        d_conv: int = 4,
        conv_init: float | None = None,
        expand: int = 2,
        headdim: int = 64,
        d_ssm: int | None = None,
        ngroups: int = 1,
        A_init_range: tuple[float, float] = (1, 16),
        D_has_hdim: bool = False,
        rmsnorm: bool = True,
        norm_before_gate: bool = False,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
        dt_limit: tuple[float, float] = (0.0, math.inf),
        bias: bool = False,
        conv_bias: bool = True,
        chunk_size: int = 256,
        use_mem_eff_path: bool = True,
        layer_idx: int | None = None,
        process_group: Any = None,
        sequence_parallel: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if process_group is not None:
            raise InputError("process_group is given: tensor parallelism is not provided")
        super().__init__(d_model, d_state, d_conv, expand, headdim, ngroups, d_ssm)
        self.D_has_hdim, self.rmsnorm, self.norm_before_gate = D_has_hdim, rmsnorm, norm_before_gate
        self.dt_limit, self.activation, self.chunk_size = dt_limit, "silu", chunk_size
        self.use_mem_eff_path, self.layer_idx = use_mem_eff_path, layer_idx
        self.process_group, self.sequence_parallel = process_group, sequence_parallel
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self._add_projections(bias, conv_bias, conv_init, options)
        self._add_steps((dt_min, dt_max, dt_init_floor), A_init_range, options)
        self.D = undecayed(torch.ones(self.d_ssm if D_has_hdim else self.nheads, device=device))
        if rmsnorm:
            group = self.d_ssm // ngroups
            self.norm = RMSNormGated(self.d_ssm, 1e-5, group, norm_before_gate, **options)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias, **options)

    def forward(
        self,
        u: Tensor,
        seqlen: int | None = None,
        seq_idx: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        inference_params: InferenceParams | None = None,
    ) -> Tensor:
        """Map `(b, l, d_model)` to the same shape.

        Args:
            u: `(b, l, d_model)`; with `seqlen`, `(b l, d_model)`.
            seqlen: Tokens of a sequence, where the first two axes are one.
            seq_idx: `(b, l)` integers; where the number changes, the past is forgotten.
            cu_seqlens: `(s + 1,)` integers: bounds of the sequences in a batch of one, for the
                states that `inference_params` keeps.
            inference_params: Caches for decoding; filled at offset 0, stepped after.

        Returns:
            Shaped as `u`.

        Raises:
            InputError: The input has another shape, or no tokens.
        """
        tokens = u if seqlen is None else torch.unflatten(u, 0, (-1, seqlen))
        self._check_tokens(tokens, u)
        cache = None
        if inference_params is not None:
            sequences = tokens.shape[0] if cu_seqlens is None else len(cu_seqlens) - 1
            cache = self._get_states_from_cache(inference_params, sequences)
            if inference_params.seqlen_offset > 0:
                return self.step(tokens, *cache)[0]
        projected = self.in_proj(tokens)
        out = mamba_split_conv1d_scan_combined(
            *(projected, self.conv1d.weight.squeeze(1), self.conv1d.bias, self.dt_bias),
            *(self._decay(), self._skip(), self.chunk_size),
            seq_idx=seq_idx,
            dt_limit=self.dt_limit,
            return_final_states=True,
            activation=self.activation,
            rmsnorm_weight=self.norm.weight if self.rmsnorm else None,
            rmsnorm_eps=self.norm.eps if self.rmsnorm else 1e-6,
            outproj_weight=self.out_proj.weight,
            outproj_bias=self.out_proj.bias,
            headdim=None if self.D_has_hdim else self.headdim,
            ngroups=self.ngroups,
            norm_before_gate=self.norm_before_gate,
        )
        y, state = out
        if cache is not None:
            self._fill(cache, projected, state, cu_seqlens)
        return y if seqlen is None else y.flatten(0, 1)

    def _fill(
        self, cache: Cache, projected: Tensor, state: Tensor, cu_seqlens: Tensor | None
    ) -> None:
        """Keep the last inputs of the convolution and the last states for decoding."""
        *_, xBC, dt = self._split(projected)
        if cu_seqlens is None:
            latest = F.pad(xBC.transpose(1, 2), (self.d_conv - xBC.shape[1], 0))
            cache[0].copy_(latest)
            cache[1].copy_(state)
            return
        cache[0].copy_(causal_conv1d_varlen_states(xBC[0], cu_seqlens, self.d_conv))
        taps = self.conv1d.weight.squeeze(1)
        bounds = cu_seqlens.tolist()
        for row, (begin, end) in enumerate(pairwise(bounds)):
            piece = causal_conv1d_fn(
                xBC[:, begin:end].transpose(1, 2),
                taps,
                self.conv1d.bias,
                activation=self.activation,
            )
            assert isinstance(piece, Tensor)
            x, B, C = self._heads(piece.transpose(1, 2))
            _, last = mamba_chunk_scan_combined(
                *(x, dt[:, begin:end], self._decay(), B, C),
                dt_bias=self.dt_bias,
                dt_softplus=True,
                dt_limit=self.dt_limit,
                return_final_states=True,
            )
            cache[1][row].copy_(last[0])

    def step(
        self, hidden_states: Tensor, conv_state: Tensor, ssm_state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Map one token, updating both states in place.

        Args:
            hidden_states: `(b, 1, d_model)`.
            conv_state: `(b, d_ssm + 2 g n, d_conv)`.
            ssm_state: `(b, h, p, n)`.

        Returns:
            The result `(b, 1, d_model)` and the two states.

        Raises:
            InputError: More than one token was given.
        """
        if hidden_states.shape[1] != 1:
            raise InputError(f"step got {hidden_states.shape[1]} tokens, expected 1")
        mlp, z, xBC, dt = self._split(self.in_proj(hidden_states.squeeze(1)))
        xBC = causal_conv1d_update(
            xBC, conv_state, self.conv1d.weight.squeeze(1), self.conv1d.bias, self.activation
        )
        x, B, C = self._heads(xBC)
        spread = (self.nheads, self.headdim)
        D = self._skip() if self.D_has_hdim else self.D.unsqueeze(-1).expand(spread)
        step = F.softplus(dt.float() + self.dt_bias.float()).clamp(*self.dt_limit)
        y = selective_state_update(
            *(ssm_state, x, step.unsqueeze(-1).expand(-1, *spread)),
            self._decay()[:, None, None].expand(*spread, self.d_state),
            *(B, C, D),
            z=None if self.rmsnorm else torch.unflatten(z, -1, spread),
        ).flatten(1)
        y = self.norm(y, z) if self.rmsnorm else y
        if mlp.shape[-1]:
            opened, passed = mlp.chunk(2, dim=-1)
            y = torch.cat([F.silu(opened) * passed, y], dim=-1)
        return self.out_proj(y).unsqueeze(1), conv_state, ssm_state

    def _split(self, projected: Tensor) -> list[Tensor]:
        """Return both halves of the MLP, the gate, x with B and C, and the step sizes."""
        mixed = self.d_ssm + 2 * self.ngroups * self.d_state
        mlp = 2 * (self.d_inner - self.d_ssm)
        return list(torch.split(projected, [mlp, self.d_ssm, mixed, self.nheads], dim=-1))

    def _heads(self, xBC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        projection = self.ngroups * self.d_state
        x, B, C = torch.split(xBC, [self.d_ssm, projection, projection], dim=-1)
        groups = (self.ngroups, self.d_state)
        return (
            torch.unflatten(x, -1, (-1, self.headdim)),
            torch.unflatten(B, -1, groups),
            torch.unflatten(C, -1, groups),
        )

    def _decay(self) -> Tensor:
        return -torch.exp(self.A_log.float())

    def _skip(self) -> Tensor:
        return torch.unflatten(self.D, 0, (-1, self.headdim)) if self.D_has_hdim else self.D

    def allocate_inference_cache(
        self,
        batch_size: int,
        max_seqlen: int | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> Cache:
        """Return zeroed states for decoding `batch_size` sequences.

        Args:
            batch_size: Sequences.
            max_seqlen: Taken for the interface's sake: the states do not grow.
            dtype: Dtype of the states; that of the weights when None.
            kwargs: Likewise unused.

        Returns:
            `(b, d_ssm + 2 g n, d_conv)` and `(b, h, p, n)`.
        """
        del max_seqlen, kwargs
        weight = self.conv1d.weight
        options: Any = {"device": weight.device, "dtype": dtype or weight.dtype}
        return (
            torch.zeros(batch_size, weight.shape[0], self.d_conv, **options),
            torch.zeros(batch_size, self.nheads, self.headdim, self.d_state, **options),
        )

    def _get_states_from_cache(
        self,
        inference_params: InferenceParams,
        batch_size: int,
        initialize_states: bool = False,
    ) -> Cache:
        return cached_states(self, inference_params, batch_size, initialize_states)
