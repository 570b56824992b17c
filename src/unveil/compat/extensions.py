"""The compiled modules that vision networks call directly: `fwd` and `bwd` of the scan.

`selective_scan_cuda` is `mamba_ssm`'s; `selective_scan_cuda_core` and `selective_scan_cuda_oflex`
are those of VMamba and its descendants, VmambaIR among them. Callers treat the second result of
`fwd` as opaque, or read the last state from its odd entries; the even entries are zero here. `bwd`
runs the scan again and needs nothing from it.
"""

from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from unveil.compat.selective_scan_interface import by_the_loop, selective_scan_fn
from unveil.ops.selective_scan.contract import Backend

Gradients: TypeAlias = list[Tensor | None]


def mamba_fwd(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    /,
) -> list[Tensor]:
    """Scan; return the ungated result, the opaque state and, with `z`, the gated result.

    Args:
        u: `(b, d, l)`.
        delta: `(b, d, l)`.
        A: `(d, n)`, real.
        B: `(b, g, n, l)` or `(d, n)`.
        C: Like `B`.
        D: `(d,)` or None.
        z: `(b, d, l)` or None.
        delta_bias: `(d,)` or None.
        delta_softplus: Apply softplus to `delta` after the bias.

    Returns:
        `(b, d, l)`, `(b, d, 1, 2 n)` and perhaps `(b, d, l)`.
    """
    with torch.no_grad():
        out, state = _scan(u, delta, A, B, C, D, None, delta_bias, delta_softplus)
        gated = [] if z is None else [out * F.silu(z)]
    opaque = torch.stack([torch.zeros_like(state), state], dim=-1).flatten(2).unsqueeze(2)
    return [out, opaque, *gated]


def mamba_bwd(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    dout: Tensor,
    x: Tensor | None,
    out: Tensor | None,
    dz: Tensor | None,
    delta_softplus: bool,
    recompute_out_z: bool,
    /,
) -> Gradients:
    """Return the gradients of `mamba_fwd`'s last result.

    The first eight arguments and `delta_softplus` are what `mamba_fwd` was given. `dout` is the
    gradient of the result, `(b, d, l)`. The opaque state `x` and the ungated result `out` are not
    needed. `dz`, if given, is overwritten with the gradient of `z`.

    Returns:
        Gradients of u, delta, A, B, C, D, delta_bias, then of z if given, then with
        `recompute_out_z` the gated result. None for what was None.
    """
    del x, out
    leaves = [
        None if tensor is None else tensor.detach().requires_grad_()
        for tensor in (u, delta, A, B, C, D, z, delta_bias)
    ]
    with torch.enable_grad():
        gated = _scan(*leaves, delta_softplus)[0]
    wanted = [leaf for leaf in leaves if leaf is not None]
    found = iter(torch.autograd.grad(gated, wanted, dout.to(gated.dtype)))
    *gradients, of_z, of_bias = [None if leaf is None else next(found) for leaf in leaves]
    gradients.append(of_bias)
    if of_z is not None:
        gradients.append(of_z if dz is None else dz.copy_(of_z))
        if recompute_out_z:
            gradients.append(gated.detach())
    return gradients


def core_fwd(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    rows: int = 1,
    /,
) -> list[Tensor]:
    """Scan without a gate, otherwise as `mamba_fwd`; `rows` is a hint for GPUs and not read."""
    del rows
    return mamba_fwd(u, delta, A, B, C, D, None, delta_bias, delta_softplus)


def core_bwd(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    dout: Tensor,
    x: Tensor | None,
    *options: Any,
) -> Gradients:
    """Return the gradients of `core_fwd`, in the order of its tensors.

    `dout` is the gradient of the result, `(b, d, l)`; the states `x` are not read. `options` are
    `delta_softplus` and perhaps `rows`; VMamba's first release put the result before them.
    """
    if options[0] is None or isinstance(options[0], Tensor):
        options = options[1:]
    delta_softplus = options[0]
    return mamba_bwd(
        *(u, delta, A, B, C, D, None, delta_bias, dout, x, None, None, delta_softplus, False)
    )


def oflex_fwd(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    rows: int = 1,
    out_float: bool = True,
    /,
) -> list[Tensor]:
    """Scan as `core_fwd`; the result is fp32 at least if `out_float`."""
    if out_float:
        u = u.to(torch.promote_types(u.dtype, torch.float32))
    return core_fwd(u, delta, A, B, C, D, delta_bias, delta_softplus, rows)


def vmamba_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    nrows: int = 1,
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Scan without a gate, differentiably: what VMamba's package `selective_scan` offers.

    The arguments are those of `mamba_fwd` without `z`; B and C may also be `(b, n, l)`. `nrows` is
    not read.
    """
    del nrows
    return _scan(u, delta, A, B, C, D, None, delta_bias, delta_softplus, backend=backend)[0]


vmamba_scan_ref = by_the_loop(vmamba_scan_fn)


def _scan(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Return the result and the last state."""
    options["return_last_state"] = True
    result = selective_scan_fn(*arguments, **options)
    assert isinstance(result, tuple)
    return result
