"""The Mamba block, with `mamba_ssm`'s constructor, parameter names and initial values.

The options of Vision Mamba's fork, and of those that descend from it, are there too.

`in_proj` splits into a branch u and a gate z; u passes a causal convolution and SiLU; `x_proj` and
`dt_proj` make Δ, B and C of it; the scan's result is gated by SiLU(z) and `out_proj` maps it back.

Source: Mamba (arXiv 2312.00752), figure 3; initial values from its section 3.6 and appendix. Scans
in several directions: Vision Mamba (arXiv 2401.09417), SegMamba (arXiv 2401.13560, "v3").
"""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unveil.compat.causal_conv1d import causal_conv1d_update
from unveil.compat.mamba_inner import bimamba_inner_fn, project
from unveil.compat.selective_state_update import selective_state_update
from unveil.compat.utilities import Cache, InferenceParams
from unveil.errors import InputError


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
        bimamba_type: `"none"` (or None): one scan; `"v1"`: both ways, shared projections; `"v2"`:
            both ways, a convolution and projections each; `"v3"`: with `nslices` a third scan
            across slices, otherwise a scan of each of two inputs.
        bimamba: Another name of `"v2"`.
        if_divide_out: Average the directions of `"v2"` instead of adding them.
        if_devide_out: Another name of `if_divide_out`.
        init_layer_scale: Initial value of a factor per channel on the result, `gamma`.
        use_norm: Layer normalisation before the output projection, where directions were summed.
        nslices: Slices of the third scan of `"v3"`.

    Raises:
        InputError: `dt_init` or `bimamba_type` is unknown.

    Example:
        >>> Mamba(8)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    conv1d: nn.Conv1d
    x_proj: nn.Linear
    dt_proj: nn.Linear
    A_log: nn.Parameter
    A_b_log: nn.Parameter
    D: nn.Parameter

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
        bimamba_type: str | None = "none",
        if_divide_out: bool = False,
        init_layer_scale: float | None = None,
        *,
        bimamba: bool = False,
        if_devide_out: bool = False,
        use_norm: bool = False,
        nslices: int | None = None,
    ) -> None:
        super().__init__()
        self.bimamba_type = _direction_type("v2" if bimamba else bimamba_type)
        self.if_divide_out = if_divide_out or if_devide_out
        self.init_layer_scale, self.nslices = init_layer_scale, nslices
        self.d_model, self.d_state, self.d_conv, self.expand = d_model, d_state, d_conv, expand
        self.d_inner = int(expand * d_model)
        self.dt_rank = math.ceil(d_model / 16) if dt_rank == "auto" else int(dt_rank)
        self.use_fast_path, self.layer_idx = use_fast_path, layer_idx
        d = self.d_inner
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        if init_layer_scale is not None:
            self.gamma = nn.Parameter(init_layer_scale * torch.ones(d_model, device=device))
        self.in_proj = nn.Linear(d_model, 2 * d, bias=bias, **options)
        self.activation, self.act = "silu", nn.SiLU()
        self._add_direction("", conv_bias, options)
        self._start_delta(dt_min, dt_max, dt_init, dt_scale, dt_init_floor)
        if self.bimamba_type == "v1":
            self.A_b_log = _first_decays(d, d_state, device)
        elif self.bimamba_type in ("v2", "v3"):
            self._add_direction("_b", conv_bias, options)
        if self.bimamba_type == "v3" and nslices is None:
            self.in_proj_extra = nn.Linear(d_model, 2 * d, bias=bias, **options)
        elif self.bimamba_type == "v3":
            self._add_direction("_s", conv_bias, options)
        self.out_proj = nn.Linear(d, d_model, bias=bias, **options)
        self.norm = nn.LayerNorm(d, device=device) if use_norm else None

    def _add_direction(self, suffix: str, conv_bias: bool, options: dict[str, Any]) -> None:
        """Add the parameters of one scan: `conv1d`, `x_proj`, `dt_proj`, `A_log` and `D`."""
        d, device = self.d_inner, options["device"]
        convolution = nn.Conv1d(
            d, d, self.d_conv, groups=d, padding=self.d_conv - 1, bias=conv_bias, **options
        )
        setattr(self, f"conv1d{suffix}", convolution)
        width = self.dt_rank + 2 * self.d_state
        setattr(self, f"x_proj{suffix}", nn.Linear(d, width, bias=False, **options))
        setattr(self, f"dt_proj{suffix}", nn.Linear(self.dt_rank, d, bias=True, **options))
        setattr(self, f"A{suffix}_log", _first_decays(d, self.d_state, device))
        setattr(self, f"D{suffix}", undecayed(torch.ones(d, device=device)))

    def _start_delta(self, low: float, high: float, init: str, scale: float, floor: float) -> None:
        """Draw `dt_proj` so that softplus of its bias is log-uniform between `low` and `high`."""
        bound = self.dt_rank**-0.5 * scale
        if init == "constant":
            nn.init.constant_(self.dt_proj.weight, bound)
        elif init == "random":
            nn.init.uniform_(self.dt_proj.weight, -bound, bound)
        else:
            raise InputError(f"dt_init is {init!r}, expected 'random' or 'constant'")
        uniform = torch.rand_like(self.dt_proj.bias.float())
        with torch.no_grad():
            self.dt_proj.bias.copy_(delta_bias(uniform, low, high, floor))
        # Initialisers of whole networks look for this mark before they zero biases.
        self.dt_proj.bias._no_reinit = True  # type: ignore[attr-defined]

    def forward(
        self,
        hidden_states: Tensor,
        inference_params: InferenceParams | None = None,
        extra_emb: Tensor | None = None,
    ) -> Tensor:
        """Map `(b, l, d_model)` to the same shape.

        Args:
            hidden_states: `(b, l, d_model)`.
            inference_params: Caches for decoding; filled at offset 0, stepped after.
            extra_emb: `(b, l, d_model)`, the second input of `"v3"` without `nslices`.

        Returns:
            `(b, l, d_model)`.

        Raises:
            InputError: An input has another shape or no tokens, or the directions do not allow it.
        """
        self._check(hidden_states, "hidden_states")
        cache = None
        if inference_params is not None:
            if self.bimamba_type != "none":
                raise InputError(
                    f"bimamba_type is {self.bimamba_type!r}: decoding has one direction, 'none'"
                )
            cache = self._get_states_from_cache(inference_params, hidden_states.shape[0])
            if inference_params.seqlen_offset > 0:
                return self.step(hidden_states, *cache)[0]
        xz = self.in_proj(hidden_states).transpose(1, 2)
        if self.bimamba_type == "v1":
            out = self._both_ways(xz)
        else:
            y, state = self._scan(xz, "")
            if cache is not None:
                cache[0].copy_(F.pad(xz[:, : self.d_inner], (self.d_conv - xz.shape[-1], 0)))
                cache[1].copy_(state)
            if self.bimamba_type != "none":
                y = self._sum_directions(xz, y, extra_emb)
            out = self.out_proj(y)
        return out if self.init_layer_scale is None else out * self.gamma

    def _check(self, x: Tensor, name: str) -> None:
        shape = tuple(x.shape)
        if len(shape) != 3 or shape[2] != self.d_model or shape[1] == 0:
            raise InputError(f"{name} has shape {shape}, expected (b, l, {self.d_model}), l > 0")

    def _scan(self, xz: Tensor, suffix: str) -> tuple[Tensor, Tensor]:
        """Return one direction's gated result `(b, l, d)` and its last state."""
        convolution, x_proj, dt_proj = (
            getattr(self, f"{name}{suffix}") for name in ("conv1d", "x_proj", "dt_proj")
        )
        branch = project(
            xz, convolution.weight, convolution.bias, x_proj.weight, dt_proj.weight, self.d_state
        )
        A = -torch.exp(getattr(self, f"A{suffix}_log").float())
        D = getattr(self, f"D{suffix}").float()
        return branch.scan(A, D, dt_proj.bias.float(), True, "auto")

    def _both_ways(self, xz: Tensor) -> Tensor:
        return bimamba_inner_fn(
            *(xz, self.conv1d.weight, self.conv1d.bias, self.x_proj.weight, self.dt_proj.weight),
            *(self.out_proj.weight, self.out_proj.bias),
            *(-torch.exp(self.A_log.float()), -torch.exp(self.A_b_log.float())),
            D=self.D.float(),
            delta_bias=self.dt_proj.bias.float(),
        )

    def _sum_directions(self, xz: Tensor, forwards: Tensor, extra_emb: Tensor | None) -> Tensor:
        """Add the other directions of "v2" and "v3" to the first, `(b, l, d)`."""
        if self.bimamba_type == "v3" and self.nslices is None:
            if extra_emb is None:
                raise InputError(
                    "extra_emb is None, expected the second input of bimamba_type='v3'"
                )
            self._check(extra_emb, "extra_emb")
            total = forwards + self._scan(self.in_proj_extra(extra_emb).transpose(1, 2), "_b")[0]
        else:
            total = forwards + self._scan(xz.flip(-1), "_b")[0].flip(1)
        if self.bimamba_type == "v3" and self.nslices is not None:
            total = total + self._across_slices(xz, self.nslices)
        elif self.if_divide_out:
            total = total / 2
        return total if self.norm is None else self.norm(total)

    def _across_slices(self, xz: Tensor, slices: int) -> Tensor:
        """Scan the first token of every slice, then the second, …."""
        tokens = xz.shape[-1]
        if tokens % slices:
            raise InputError(f"{tokens} tokens do not divide into {slices} slices (nslices)")
        turned = torch.unflatten(xz, -1, (slices, -1)).transpose(-1, -2).flatten(-2)
        y = self._scan(turned, "_s")[0]
        return torch.unflatten(y, 1, (-1, slices)).transpose(1, 2).flatten(1, 2)

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
        sizes = [self.dt_rank, self.d_state, self.d_state]
        low_rank, B, C = torch.split(self.x_proj(x), sizes, dim=-1)
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
        return cached_states(self, inference_params, batch_size, initialize_states)


def cached_states(
    mixer: Any, inference_params: InferenceParams, batch_size: int, initialize_states: bool
) -> Cache:
    """Return a layer's states for decoding, made on first use and zeroed on request.

    Args:
        mixer: The layer, with `layer_idx` and `allocate_inference_cache`.
        inference_params: Where states are kept by layer.
        batch_size: Sequences.
        initialize_states: Whether to zero states that are there.

    Raises:
        InputError: The layer has no number.
    """
    if mixer.layer_idx is None:
        raise InputError("layer_idx is None, expected a number: decoding keeps states by layer")
    caches = inference_params.key_value_memory_dict
    if mixer.layer_idx not in caches:
        caches[mixer.layer_idx] = mixer.allocate_inference_cache(batch_size)
    elif initialize_states:
        for state in caches[mixer.layer_idx]:
            state.zero_()
    return caches[mixer.layer_idx]


def _direction_type(name: str | None) -> str:
    if name not in (None, "none", "v1", "v2", "v3"):
        raise InputError(
            f"bimamba_type is {name!r}, expected 'none', 'v1', 'v2' or 'v3'; others belong to a "
            "fork: put its mamba_ssm beside the script"
        )
    return name or "none"


def _first_decays(d: int, n: int, device: torch.device | str | None) -> nn.Parameter:
    states = torch.arange(1, n + 1, dtype=torch.float32, device=device)
    return undecayed(states.log().repeat(d, 1))


def delta_bias(uniform: Tensor, low: float, high: float, floor: float) -> Tensor:
    """Return biases whose softplus is log-uniform between `low` and `high`, and at least `floor`.

    Args:
        uniform: Numbers drawn uniformly from [0, 1), of any shape.
        low: Smallest step size.
        high: Largest step size.
        floor: Smaller step sizes are raised to it.
    """
    delta = (low * (high / low) ** uniform).clamp(min=floor)
    return delta + torch.log(-torch.expm1(-delta))


def undecayed(values: Tensor) -> nn.Parameter:
    """Make a parameter that published training loops exempt from weight decay."""
    parameter = nn.Parameter(values)
    parameter._no_weight_decay = True  # type: ignore[attr-defined]
    return parameter
