"""One step of the recurrence, with the interface of `mamba_ssm`'s function for decoding."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
) -> Tensor:
    """Advance a state by one token, in place, and read it out.

    Args:
        state: `(b, d, n)`, overwritten.
        x: `(b, d)`.
        dt: `(b, d)`.
        A: `(d, n)`.
        B: `(b, n)`, or `(b, g, n)` with g groups of channels.
        C: Like `B`.
        D: `(d,)` or None.
        z: `(b, d)` or None; the result is multiplied by SiLU of it.
        dt_bias: `(d,)` or None, added to `dt`.
        dt_softplus: Apply softplus to `dt` after the bias.

    Returns:
        `(b, d)` in the dtype of `x`.

    Example:
        >>> state, one = torch.ones(1, 1, 1), torch.ones(1, 1)
        >>> selective_state_update(state, one, one, 0 * one, one, one).item(), state.item()
        (2.0, 2.0)
    """
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    delta, u = dt.to(wide), x.to(wide)
    if dt_bias is not None:
        delta = delta + dt_bias.to(wide)
    if dt_softplus:
        delta = F.softplus(delta)
    into, out_of = (_per_channel(p.to(wide), state.shape[1]) for p in (B, C))
    after = torch.exp(delta.unsqueeze(-1) * A.to(wide)) * state.to(wide)
    after = after + (delta * u).unsqueeze(-1) * into
    state.copy_(after)
    y = (after * out_of).sum(-1)
    if D is not None:
        y = y + D.to(wide) * u
    if z is not None:
        y = y * F.silu(z.to(wide))
    return y.to(x.dtype)


def _per_channel(projection: Tensor, d: int) -> Tensor:
    """Turn `(b, n)` or `(b, g, n)` into `(b, 1, n)` or `(b, d, n)`."""
    if projection.dim() == 2:
        return projection.unsqueeze(1)
    return projection.repeat_interleave(d // projection.shape[1], dim=1)
