"""The scan and the inside of a Mamba block, with `mamba_ssm`'s interface.

Everything here ends in `unveil.ops.selective_scan`, on whichever backend suits the call.

Source: Mamba (arXiv 2312.00752), equations 2 to 4 and figure 3.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch.nn.functional as F
from torch import Tensor

from unveil.errors import InputError
from unveil.ops import causal_conv1d, selective_scan
from unveil.ops.selective_scan.contract import Backend

P = ParamSpec("P")
R = TypeVar("R")


def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    backend: Backend = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Scan sequences with input-dependent parameters.

    h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t u_t,  y_t = C_t·h_t + D u_t,  times SiLU(z_t) if given.

    Args:
        u: `(b, d, l)`, any float dtype.
        delta: `(b, d, l)`.
        A: `(d, n)`, real.
        B: `(d, n)`, `(b, n, l)` or `(b, g, n, l)` with g groups of channels.
        C: Like `B`.
        D: `(d,)` or None.
        z: `(b, d, l)` or None.
        delta_bias: `(d,)` or None, added to `delta`.
        delta_softplus: Apply softplus to `delta` after the bias.
        return_last_state: Also return the state after the last token; gradients flow through it.
        backend: As in `unveil.ops.selective_scan`; not part of the original interface.

    Returns:
        `(b, d, l)` in the dtype of `u`; with the last state `(b, d, n)` in fp32, a pair.

    Raises:
        InputError: A shape does not fit, or `A` is complex.

    Example:
        >>> import torch
        >>> ones = torch.ones(1, 1, 3)
        >>> selective_scan_fn(ones, ones, torch.zeros(1, 1), ones, ones).tolist()
        [[[1.0, 2.0, 3.0]]]
    """
    _require_real(A)
    return selective_scan(
        u,
        delta,
        A,
        B,
        C,
        D,
        z,
        delta_bias,
        delta_softplus,
        return_last_state,
        backend=backend,
    )


def mamba_inner_fn(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
    checkpoint_lvl: int = 1,
    b_rms_weight: Tensor | None = None,
    c_rms_weight: Tensor | None = None,
    dt_rms_weight: Tensor | None = None,
    b_c_dt_rms_eps: float = 1e-6,
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Run a Mamba block from the output of its input projection to its own output.

    Args:
        xz: `(b, 2 d, l)`: the branch to scan, then the gate.
        conv1d_weight: `(d, 1, width)`, causal and depthwise.
        conv1d_bias: `(d,)` or None.
        x_proj_weight: `(r [+ n] [+ n], d)`: rows for Δ's low rank, then for B and C if projected.
        delta_proj_weight: `(d, r)`.
        out_proj_weight: `(d_model, d)`.
        out_proj_bias: `(d_model,)` or None.
        A: `(d, n)`, real.
        B: What `selective_scan_fn` takes, or None to project it from the input.
        C: Like `B`.
        D: `(d,)` or None.
        delta_bias: `(d,)` or None.
        B_proj_bias: `(n,)` or None, added to a projected `B`.
        C_proj_bias: `(n,)` or None.
        delta_softplus: Apply softplus to Δ.
        checkpoint_lvl: Taken for the interface's sake; the scan always recomputes its states.
        b_rms_weight: `(n,)` or None: RMS-normalise a projected `B` and scale it.
        c_rms_weight: Likewise for `C`.
        dt_rms_weight: `(r,)` or None: likewise for Δ's low rank.
        b_c_dt_rms_eps: Added to the mean square.
        backend: As in `unveil.ops.selective_scan`; not part of the original interface.

    Returns:
        `(b, l, d_model)`.

    Raises:
        InputError: `A` is complex, or a shape does not fit.

    Example:
        >>> import torch
        >>> xz, taps, one = torch.ones(1, 2, 5), torch.ones(1, 1, 4), torch.ones(1, 1)
        >>> mamba_inner_fn(xz, taps, None, torch.ones(3, 1), one, one, None, -one).shape
        torch.Size([1, 5, 1])
    """
    del checkpoint_lvl
    y, _ = mamba_branch(
        xz,
        conv1d_weight,
        conv1d_bias,
        x_proj_weight,
        delta_proj_weight,
        A,
        B,
        C,
        D,
        delta_bias,
        B_proj_bias,
        C_proj_bias,
        delta_softplus,
        b_rms_weight,
        c_rms_weight,
        dt_rms_weight,
        b_c_dt_rms_eps,
        backend,
    )
    return F.linear(y, out_proj_weight, out_proj_bias)


def mamba_branch(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    A: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
    b_rms_weight: Tensor | None = None,
    c_rms_weight: Tensor | None = None,
    dt_rms_weight: Tensor | None = None,
    b_c_dt_rms_eps: float = 1e-6,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Run a Mamba block up to, not including, its output projection.

    Args are those of `mamba_inner_fn`.

    Returns:
        The gated result `(b, l, d)` and the state after the last token `(b, d, n)`.
    """
    _require_real(A)
    if xz.dim() != 3 or xz.shape[1] != 2 * len(conv1d_weight) or xz.shape[2] == 0:
        raise InputError(
            f"xz has shape {tuple(xz.shape)}, expected (b, {2 * len(conv1d_weight)}, l), l > 0"
        )
    rank, n = delta_proj_weight.shape[1], A.shape[1]
    x, z = xz.chunk(2, dim=1)
    bias = None if conv1d_bias is None else conv1d_bias.to(x.dtype)
    u = causal_conv1d(x.transpose(1, 2), conv1d_weight.to(x.dtype), bias)
    projected = F.linear(u, x_proj_weight)
    low_rank = _projected(projected[..., :rank], None, dt_rms_weight, b_c_dt_rms_eps)
    if B is None:
        B = _projected(projected[..., rank : rank + n], B_proj_bias, b_rms_weight, b_c_dt_rms_eps)
    else:
        B = _channels_last(B)
    if C is None:
        C = _projected(projected[..., -n:], C_proj_bias, c_rms_weight, b_c_dt_rms_eps)
    else:
        C = _channels_last(C)
    result = selective_scan(
        *(u, F.linear(low_rank, delta_proj_weight), A, B, C, D, z.transpose(1, 2)),
        delta_bias=delta_bias,
        delta_softplus=delta_softplus,
        return_last_state=True,
        layout="bld",
        backend=backend,
    )
    assert isinstance(result, tuple)
    return result


def by_the_loop(fast: Callable[P, R]) -> Callable[P, R]:
    """Return the same function held to the reference loop."""

    @wraps(fast)
    def slow(*args: P.args, **kwargs: P.kwargs) -> R:
        kwargs["backend"] = "reference"
        return fast(*args, **kwargs)

    slow.__doc__ = f"Like `{fast.__name__}`, by the plain loop: slow and obvious."
    return slow


selective_scan_ref = by_the_loop(selective_scan_fn)
mamba_inner_ref = by_the_loop(mamba_inner_fn)


class SelectiveScanFn:
    """What `mamba_ssm` calls its autograd function: callers use `apply` alone."""

    apply = staticmethod(selective_scan_fn)


class MambaInnerFn:
    """Likewise for the inside of a block."""

    apply = staticmethod(mamba_inner_fn)


def _require_real(A: Tensor) -> None:
    if A.is_complex():
        raise InputError(f"A is {A.dtype}, expected a real dtype: complex states are not supported")


def _projected(x: Tensor, bias: Tensor | None, scale: Tensor | None, eps: float) -> Tensor:
    x = x if bias is None else x + bias.to(x.dtype)
    return x if scale is None else F.rms_norm(x, scale.shape, scale.to(x.dtype), eps)


def _channels_last(x: Tensor) -> Tensor:
    """Turn `(b, [g,] n, l)` into `(b, l, [g,] n)`; a constant `(d, n)` stays."""
    return x if x.dim() == 2 else x.movedim(-1, 1)
