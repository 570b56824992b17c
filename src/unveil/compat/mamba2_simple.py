"""The Mamba-2 block without decoding, with `mamba_ssm`'s constructor and parameter names.

Source: Mamba-2 (arXiv 2405.21060), figure 6.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from unveil.compat.layernorm_gated import RMSNormGated
from unveil.compat.mamba2_base import Mamba2Base
from unveil.compat.mamba_simple import undecayed
from unveil.compat.ssd_combined import mamba_split_conv1d_scan_combined


class Mamba2Simple(Mamba2Base):
    """A Mamba-2 block on sequences `(b, l, d_model)`.

    The arguments are those of `unveil.compat.mamba2.Mamba2`, and:

    Args:
        learnable_init_states: Learn the state before the first token.
        activation: Of the convolution, `"silu"`, `"swish"` or None.
        use_mem_eff_path: As in `mamba_ssm`, the normalisation is over each group of heads where
            true, and over all channels where false.

    Raises:
        InputError: The heads do not divide the channels.

    Example:
        >>> Mamba2Simple(8, d_state=4, headdim=4)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 64,
        d_conv: int = 4,
        conv_init: float | None = None,
        expand: int = 2,
        headdim: int = 128,
        ngroups: int = 1,
        A_init_range: tuple[float, float] = (1, 16),
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
        dt_limit: tuple[float, float] = (0.0, math.inf),
        learnable_init_states: bool = False,
        activation: str | None = "swish",
        bias: bool = False,
        conv_bias: bool = True,
        chunk_size: int = 256,
        use_mem_eff_path: bool = True,
        layer_idx: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(d_model, d_state, d_conv, expand, headdim, ngroups)
        self.dt_limit, self.activation, self.chunk_size = dt_limit, activation, chunk_size
        self.learnable_init_states = learnable_init_states
        self.use_mem_eff_path, self.layer_idx = use_mem_eff_path, layer_idx
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self._add_projections(bias, conv_bias, conv_init, options)
        if learnable_init_states:
            self.init_states = undecayed(torch.zeros(self.nheads, headdim, d_state, **options))
        self._add_steps((dt_min, dt_max, dt_init_floor), A_init_range, options)
        self.D = undecayed(torch.ones(self.nheads, device=device))
        self.norm = RMSNormGated(self.d_inner, 1e-5, None, False, **options)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias, **options)

    def forward(self, u: Tensor, seq_idx: Tensor | None = None) -> Tensor:
        """Map `(b, l, d_model)` to the same shape.

        Args:
            u: `(b, l, d_model)`.
            seq_idx: `(b, l)` integers; where the number changes, the past is forgotten.

        Raises:
            InputError: The input has another shape, or no tokens.
        """
        self._check_tokens(u, u)
        initial = None
        if self.learnable_init_states:
            initial = self.init_states.expand(len(u), -1, -1, -1)
        y = mamba_split_conv1d_scan_combined(
            self.in_proj(u),
            self.conv1d.weight.squeeze(1),
            self.conv1d.bias,
            self.dt_bias,
            -torch.exp(self.A_log.float()),
            self.D,
            initial_states=initial,
            seq_idx=seq_idx,
            dt_limit=self.dt_limit,
            activation=self.activation,
            # Without it the scan's result is gated, which the normalisation follows.
            rmsnorm_weight=self.norm.weight if self.use_mem_eff_path else None,
            rmsnorm_eps=self.norm.eps,
            headdim=self.headdim,
            ngroups=self.ngroups,
            norm_before_gate=False,
        )
        y = y if self.use_mem_eff_path else self.norm(y)
        out: Tensor = self.out_proj(y)
        return out
