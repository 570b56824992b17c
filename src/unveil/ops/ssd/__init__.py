"""The scan of Mamba-2: one decay per head, computed as products of matrices."""

import math
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from unveil.errors import InputError
from unveil.ops.dispatch import Route, named_backend, route
from unveil.ops.silu_gate import silu_gate
from unveil.ops.ssd import _flops as _flops
from unveil.ops.ssd import chunked, native, reference

__all__ = ["SsdBackend", "ssd_scan"]

SsdBackend = Literal["auto", "reference", "native", "torch"]


def ssd_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    *,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    initial_state: Tensor | None = None,
    sequence_index: Tensor | None = None,
    backend: SsdBackend = "auto",
) -> tuple[Tensor, Tensor]:
    """Scan: H_t = exp(dt_t A) H_(t-1) + dt_t x_t B_t^T, y_t = H_t C_t + D x_t.

    The native kernel (CPU, float32; half types are cast around it) multiplies matrices within
    chunks of 64 tokens and carries a state between them. Everything else runs the same form in
    plain PyTorch operations. The environment variable ``UNVEIL_SCAN_BACKEND`` takes the place of
    "auto".

    Args:
        x: Inputs (b, l, h, p): h heads of p channels.
        dt: Step sizes (b, l, h).
        A: (h,), negative for a state that decays.
        B: (b, l, g, n), g groups of heads.
        C: (b, l, g, n).
        D: Weight of the input in the output, (h,) or (h, p).
        z: Gate (b, l, h, p): the output is multiplied by SiLU(z).
        dt_bias: (h,), added to dt.
        dt_softplus: Whether dt (with its bias) passes through softplus.
        dt_limit: dt is held to this range last.
        initial_state: State before the first token (b, h, p, n); zero if not given.
        sequence_index: (b, l) integers; where the number changes, the state is forgotten.
        backend: ``"auto"``; ``"native"`` runs or raises; ``"torch"`` is the same form in PyTorch
            operations, ``"reference"`` the loop over tokens.

    Returns:
        y, shaped and typed as x, and the last state (b, h, p, n) in float32 (float64 if x is).

    Raises:
        InputError: An argument has the wrong shape, or there is no such backend.
        BackendUnavailableError: The backend asked for cannot run this call.

    Source: Dao and Gu, "Transformers are SSMs" (arXiv:2405.21060), sections 3 and 6.

    >>> ones = torch.ones(1, 3, 1, 1)
    >>> ssd_scan(ones, ones[..., 0], torch.zeros(1), ones, ones)[0].flatten()
    tensor([1., 2., 3.])
    """
    _check(x, dt, A, B, C, D, z, dt_bias, initial_state, sequence_index)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    step = _step(dt.to(wide), dt_bias, dt_softplus, dt_limit)
    initial = initial_state
    if initial is None:
        initial = x.new_zeros(x.shape[0], *x.shape[2:], B.shape[3], dtype=wide)
    fresh = None if sequence_index is None else _changes(sequence_index)
    skip = x.new_zeros(x.shape[2:], dtype=wide) if D is None else D.to(wide)
    skip = skip.unsqueeze(-1).expand(x.shape[2:]) if skip.dim() == 1 else skip
    tensors = [v.to(wide) for v in (x, step, A, B, C, skip, initial)]
    if x.shape[1] == 0:
        return torch.empty_like(x), initial.to(wide)
    named = named_backend(backend, get_args(SsdBackend))
    plain = named == "torch" or route(named, *tensors, function="ssd_chunk") is Route.PLAIN
    if plain:
        form: Any = reference.loop if named == "reference" else chunked.scan
        y, last = form(*tensors, fresh)
    else:
        y, last = native.run(*tensors, fresh)
    y = y.to(x.dtype)
    return y if z is None else silu_gate(y, z), last


def _step(dt: Tensor, bias: Tensor | None, softplus: bool, limit: tuple[float, float]) -> Tensor:
    step = dt if bias is None else dt + bias.to(dt.dtype)
    step = F.softplus(step) if softplus else step
    return step if limit == (0.0, math.inf) and softplus else step.clamp(*limit)


def _changes(sequence_index: Tensor) -> Tensor:
    return F.pad(sequence_index[:, 1:] != sequence_index[:, :-1], (1, 0))


def _check(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    sequence_index: Tensor | None,
) -> None:
    if x.dim() != 4:
        raise InputError(f"x has shape {tuple(x.shape)}, expected (b, l, h, p)")
    if B.dim() != 4 or x.shape[2] % max(1, B.shape[2]):
        raise InputError(
            f"B has shape {tuple(B.shape)}, expected (b, l, g, n), g a divisor of {x.shape[2]}"
        )
    batch, tokens, heads, width = x.shape
    groups, states = B.shape[2:]
    expected: tuple[tuple[str, Tensor | None, tuple[tuple[int, ...], ...]], ...] = (
        ("dt", dt, ((batch, tokens, heads),)),
        ("A", A, ((heads,),)),
        ("B", B, ((batch, tokens, groups, states),)),
        ("C", C, ((batch, tokens, groups, states),)),
        ("D", D, ((heads,), (heads, width))),
        ("z", z, ((batch, tokens, heads, width),)),
        ("dt_bias", dt_bias, ((heads,),)),
        ("initial_state", initial_state, ((batch, heads, width, states),)),
        ("sequence_index", sequence_index, ((batch, tokens),)),
    )
    for name, value, shapes in expected:
        if value is not None and tuple(value.shape) not in shapes:
            wanted = " or ".join(map(str, shapes))
            raise InputError(f"{name} has shape {tuple(value.shape)}, expected {wanted}")
        if value is not None and value.is_complex():
            raise InputError(f"{name} is {value.dtype}, expected a real dtype")
