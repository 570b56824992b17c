"""The Mamba block, with `mamba_ssm`'s constructor, parameter names and initial values.

`in_proj` splits into a branch u and a gate z; u passes a causal convolution and SiLU; `x_proj` and
`dt_proj` make Δ, B and C of it; the scan's result is gated by SiLU(z) and `out_proj` maps it back.

Source: Mamba (arXiv 2312.00752), figure 3; initial values from its section 3.6 and appendix.
"""

import math
from typing import Any, Literal, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unveil.compat.causal_conv1d import causal_conv1d_update
from unveil.compat.selective_scan_interface import mamba_branch
from unveil.compat.selective_state_update import selective_state_update
from unveil.errors import InputError

Cache: TypeAlias = tuple[Tensor, Tensor]


class InferenceParams(Protocol):
    """What token-by-token decoding carries along: the caches by layer, and the tokens seen."""

    key_value_memory_dict: dict[int, Cache]
    seqlen_offset: int


class Mamba(nn.Module):
    """A Mamba block on sequences `(b, l, d_model)`.

    Args:
        d_model: Channels in and out.
        d_state: States per inner channel, n.
        d_conv: Taps of the causal convolution.
        expand: Inner channels per channel.
        dt_rank: Rank of Δ's projection; `"auto"` is `ceil(d_model / 16)`.
        dt_min: Smallest initial Δ.
        dt_max: Largest initial Δ.
        dt_init: `"random"` or `"constant"` initial weights of `dt_proj`.
        dt_scale: Factor on those weights.
        dt_init_floor: Δ never starts below it.
        conv_bias: Whether the convolution has a bias.
        bias: Whether the outer projections have one.
        use_fast_path: Taken for the interface's sake: there is one path here.
        layer_idx: Number of this layer, the key of its cache when decoding.
        device: Where the parameters live.
        dtype: Dtype of the parameters; `A_log` and `D` are always fp32.

    Raises:
        InputError: `dt_init` is neither of the two.

    Example:
        >>> Mamba(8)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | Literal["auto"] = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init: str = "random",
        dt_scale: float = 1.0,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        use_fast_path: bool = True,
        layer_idx: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.d_model, self.d_state, self.d_conv, self.expand = d_model, d_state, d_conv, expand
        self.d_inner = int(expand * d_model)
        self.dt_rank = math.ceil(d_model / 16) if dt_rank == "auto" else int(dt_rank)
        self.use_fast_path, self.layer_idx = use_fast_path, layer_idx
        d = self.d_inner
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.in_proj = nn.Linear(d_model, 2 * d, bias=bias, **options)
        self.conv1d = nn.Conv1d(
            d, d, d_conv, groups=d, padding=d_conv - 1, bias=conv_bias, **options
        )
        self.activation, self.act = "silu", nn.SiLU()
        self.x_proj = nn.Linear(d, self.dt_rank + 2 * d_state, bias=False, **options)
        self.dt_proj = nn.Linear(self.dt_rank, d, bias=True, **options)
        self._start_delta(dt_min, dt_max, dt_init, dt_scale, dt_init_floor)
        states = torch.arange(1, d_state + 1, dtype=torch.float32, device=device)
        self.A_log = _undecayed(states.log().repeat(d, 1))
        self.D = _undecayed(torch.ones(d, device=device))
        self.out_proj = nn.Linear(d, d_model, bias=bias, **options)

    def _start_delta(self, low: float, high: float, init: str, scale: float, floor: float) -> None:
        """Draw `dt_proj` so that softplus of its bias is log-uniform between `low` and `high`."""
        bound = self.dt_rank**-0.5 * scale
        if init == "constant":
            nn.init.constant_(self.dt_proj.weight, bound)
        elif init == "random":
            nn.init.uniform_(self.dt_proj.weight, -bound, bound)
        else:
            raise InputError(f"dt_init is {init!r}, expected 'random' or 'constant'")
        exponent = torch.rand_like(self.dt_proj.bias.float())
        delta = (low * (high / low) ** exponent).clamp(min=floor)
        with torch.no_grad():
            self.dt_proj.bias.copy_(delta + torch.log(-torch.expm1(-delta)))
        # Initialisers of whole networks look for this mark before they zero biases.
        self.dt_proj.bias._no_reinit = True  # type: ignore[attr-defined]

    def forward(
        self, hidden_states: Tensor, inference_params: InferenceParams | None = None
    ) -> Tensor:
        """Map `(b, l, d_model)` to the same shape.

        Args:
            hidden_states: `(b, l, d_model)`.
            inference_params: Caches for decoding; filled at offset 0, stepped after.

        Returns:
            `(b, l, d_model)`.

        Raises:
            InputError: The input has another shape, or no tokens.
        """
        shape = tuple(hidden_states.shape)
        if len(shape) != 3 or shape[2] != self.d_model or shape[1] == 0:
            raise InputError(
                f"hidden_states has shape {shape}, expected (b, l, {self.d_model}), l > 0"
            )
        cache = None
        if inference_params is not None:
            cache = self._get_states_from_cache(inference_params, hidden_states.shape[0])
            if inference_params.seqlen_offset > 0:
                return self.step(hidden_states, *cache)[0]
        xz = self.in_proj(hidden_states).transpose(1, 2)
        y, state = mamba_branch(
            *(xz, self.conv1d.weight, self.conv1d.bias, self.x_proj.weight, self.dt_proj.weight),
            A=-torch.exp(self.A_log.float()),
            D=self.D.float(),
            delta_bias=self.dt_proj.bias.float(),
        )
        if cache is not None:
            latest = F.pad(xz[:, : self.d_inner], (self.d_conv - xz.shape[-1], 0))
            cache[0].copy_(latest)
            cache[1].copy_(state)
        out: Tensor = self.out_proj(y)
        return out

    def step(
        self, hidden_states: Tensor, conv_state: Tensor, ssm_state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Map one token, updating both states in place.

        Args:
            hidden_states: `(b, 1, d_model)`.
            conv_state: `(b, d_inner, d_conv)`.
            ssm_state: `(b, d_inner, d_state)`.

        Returns:
            The result `(b, 1, d_model)` and the two states.

        Raises:
            InputError: More than one token was given.
        """
        if hidden_states.shape[1] != 1:
            raise InputError(f"step got {hidden_states.shape[1]} tokens, expected 1")
        x, z = self.in_proj(hidden_states.squeeze(1)).chunk(2, dim=-1)
        x = causal_conv1d_update(
            x, conv_state, self.conv1d.weight.squeeze(1), self.conv1d.bias, self.activation
        )
        low_rank, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        y = selective_state_update(
            *(
                ssm_state,
                x,
                F.linear(low_rank, self.dt_proj.weight),
                -torch.exp(self.A_log.float()),
            ),
            *(B, C, self.D, z, self.dt_proj.bias),
            dt_softplus=True,
        )
        return self.out_proj(y).unsqueeze(1), conv_state, ssm_state

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
            `(b, d_inner, d_conv)` and `(b, d_inner, d_state)`.
        """
        del max_seqlen, kwargs
        device = self.out_proj.weight.device
        conv_dtype = dtype or self.conv1d.weight.dtype
        state_dtype = dtype or self.dt_proj.weight.dtype
        return (
            torch.zeros(batch_size, self.d_inner, self.d_conv, device=device, dtype=conv_dtype),
            torch.zeros(batch_size, self.d_inner, self.d_state, device=device, dtype=state_dtype),
        )

    def _get_states_from_cache(
        self,
        inference_params: InferenceParams,
        batch_size: int,
        initialize_states: bool = False,
    ) -> Cache:
        """Return this layer's states, made on first use and zeroed on request."""
        if self.layer_idx is None:
            raise InputError("layer_idx is None, expected a number: decoding keeps states by layer")
        caches = inference_params.key_value_memory_dict
        if self.layer_idx not in caches:
            caches[self.layer_idx] = self.allocate_inference_cache(batch_size)
        elif initialize_states:
            for state in caches[self.layer_idx]:
                state.zero_()
        return caches[self.layer_idx]


def _undecayed(values: Tensor) -> nn.Parameter:
    """Make a parameter that published training loops exempt from weight decay."""
    parameter = nn.Parameter(values)
    parameter._no_weight_decay = True  # type: ignore[attr-defined]
    return parameter
