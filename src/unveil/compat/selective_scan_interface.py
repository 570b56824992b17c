"""The scan, with `mamba_ssm`'s interface.

Everything here ends in `unveil.ops.selective_scan`, on whichever backend suits the call.

Source: Mamba (arXiv 2312.00752), equations 2 to 4.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from torch import Tensor

from unveil.compat.complex_scan import complex_scan, paired
from unveil.ops import selective_scan
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
        A: `(d, n)`, real or complex.
        B: `(d, n)`, `(b, n, l)` or `(b, g, n, l)` with g groups of channels. With a complex `A`,
            `(d, n)` complex, or real with `2 l` numbers: real and imaginary parts alternate.
        C: Like `B`.
        D: `(d,)` or None.
        z: `(b, d, l)` or None.
        delta_bias: `(d,)` or None, added to `delta`.
        delta_softplus: Apply softplus to `delta` after the bias.
        return_last_state: Also return the state after the last token; gradients flow through it.
        backend: As in `unveil.ops.selective_scan`; not part of the original interface.

    Returns:
        `(b, d, l)` in the dtype of `u`; with the last state `(b, d, n)` in fp32, a pair. A complex
        `A` gives 2 Re(C·h) and a complex state.

    Raises:
        InputError: A shape does not fit.

    Example:
        >>> import torch
        >>> ones = torch.ones(1, 1, 3)
        >>> selective_scan_fn(ones, ones, torch.zeros(1, 1), ones, ones).tolist()
        [[[1.0, 2.0, 3.0]]]
    """
    if A.is_complex():
        B, C = (x if x.dim() == 2 else paired(x) for x in (B, C))
        y, state = complex_scan(
            u, delta, A, B, C, D, z, delta_bias, delta_softplus, backend=backend
        )
        return (y, state) if return_last_state else y
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


def by_the_loop(fast: Callable[P, R]) -> Callable[P, R]:
    """Return the same function held to the reference loop."""

    @wraps(fast)
    def slow(*args: P.args, **kwargs: P.kwargs) -> R:
        kwargs["backend"] = "reference"
        return fast(*args, **kwargs)

    slow.__doc__ = f"Like `{fast.__name__}`, by the plain loop: slow and obvious."
    return slow


selective_scan_ref = by_the_loop(selective_scan_fn)


class SelectiveScanFn:
    """What `mamba_ssm` calls its autograd function: callers use `apply` alone."""

    apply = staticmethod(selective_scan_fn)
