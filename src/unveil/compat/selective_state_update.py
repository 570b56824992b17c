"""One step of the recurrence, with the interface of `mamba_ssm`'s function for decoding."""

import torch
import torch.nn.functional as F
from torch import Tensor

from unveil.errors import InputError


def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    state_batch_indices: Tensor | None = None,
) -> Tensor:
    """Advance a state by one token, in place, and read it out.

    Shapes are Mamba's; Mamba-2's have an axis of heads, h, in front of d.

    Args:
        state: `(b, d, n)` or `(b, h, d, n)`, overwritten.
        x: `(b, d)` or `(b, h, d)`.
        dt: Like `x`.
        A: `(d, n)` or `(h, d, n)`.
        B: `(b, n)`, or `(b, g, n)` with g groups of channels, or of heads.
        C: Like `B`.
        D: `(d,)` or `(h, d)`, or None.
        z: Like `x`, or None; the result is multiplied by SiLU of it.
        dt_bias: Like `D`, added to `dt`.
        dt_softplus: Apply softplus to `dt` after the bias.
        state_batch_indices: `(b,)` integers, the row of `state` of each sequence; a negative number
            marks padding, whose result is zero and which has no row.

    Returns:
        Shaped and typed as `x`.

    Raises:
        InputError: A shape does not fit.

    Example:
        >>> state, one = torch.ones(1, 1, 1), torch.ones(1, 1)
        >>> selective_state_update(state, one, one, 0 * one, one, one).item(), state.item()
        (2.0, 2.0)
    """
    _check(state, x, dt, A, B, C, D, z, dt_bias, state_batch_indices)
    if state_batch_indices is not None and (state_batch_indices < 0).any():
        return _skipping_padding(
            state_batch_indices, (state, A, D, dt_bias), (x, dt, B, C, z), dt_softplus
        )
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    delta, u = dt.to(wide), x.to(wide)
    if dt_bias is not None:
        delta = delta + dt_bias.to(wide)
    if dt_softplus:
        delta = F.softplus(delta)
    into, out_of = (_per_channel(p.to(wide), state) for p in (B, C))
    rows = slice(None) if state_batch_indices is None else state_batch_indices.long()
    after = torch.exp(delta.unsqueeze(-1) * A.to(wide)) * state[rows].to(wide)
    after = after + (delta * u).unsqueeze(-1) * into
    state[rows] = after.to(state.dtype)
    y = (after * out_of).sum(-1)
    if D is not None:
        y = y + D.to(wide) * u
    if z is not None:
        y = y * F.silu(z.to(wide))
    return y.to(x.dtype)


def selective_state_update_ref(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
) -> Tensor:
    """Advance a state as `selective_state_update` does: it has one way here."""
    return selective_state_update(state, x, dt, A, B, C, D, z, dt_bias, dt_softplus)


def _skipping_padding(
    rows: Tensor,
    shared: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    given: tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None],
    dt_softplus: bool,
) -> Tensor:
    state, A, D, dt_bias = shared
    real = rows >= 0
    x, dt, B, C, z = (None if t is None else t[real] for t in given)
    assert x is not None
    assert dt is not None
    assert B is not None
    assert C is not None
    y = torch.zeros_like(given[0])
    y[real] = selective_state_update(state, x, dt, A, B, C, D, z, dt_bias, dt_softplus, rows[real])
    return y


def _per_channel(projection: Tensor, state: Tensor) -> Tensor:
    """Turn `(b, n)` or `(b, g, n)` into what broadcasts over `(b, [h,] d, n)`."""
    if projection.dim() == 2:
        projection = projection.unsqueeze(1)
    spread = projection.repeat_interleave(state.shape[1] // projection.shape[1], dim=1)
    return spread if state.dim() == 3 else spread.unsqueeze(2)


def _check(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    rows: Tensor | None,
) -> None:
    if state.dim() not in (3, 4):
        raise InputError(
            f"state has shape {tuple(state.shape)}, expected (b, d, n) or (b, h, d, n)"
        )
    channels, n = tuple(state.shape[1:-1]), state.shape[-1]
    batch = state.shape[0] if rows is None else len(rows)
    groups = B.shape[1] if B.dim() == 3 else 1
    if B.dim() not in (2, 3) or channels[0] % max(1, groups):
        raise InputError(
            f"B has shape {tuple(B.shape)}, expected ({batch}, {n}) or ({batch}, g, {n}), "
            f"g a divisor of {channels[0]}"
        )
    projection = (batch, n) if B.dim() == 2 else (batch, groups, n)
    for name, value, shape in (
        ("x", x, (batch, *channels)),
        ("dt", dt, (batch, *channels)),
        ("A", A, (*channels, n)),
        ("B", B, projection),
        ("C", C, projection),
        ("D", D, channels),
        ("z", z, (batch, *channels)),
        ("dt_bias", dt_bias, channels),
    ):
        if value is not None and tuple(value.shape) != shape:
            raise InputError(f"{name} has shape {tuple(value.shape)}, expected {shape}")
