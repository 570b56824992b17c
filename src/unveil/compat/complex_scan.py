"""The scan with complex states, which `mamba_ssm` offers and no kernel here computes.

States come in conjugate pairs, of which one is kept: y_t = 2 Re(C_t · h_t) + D u_t. It runs in
plain PyTorch operations, about as fast as the backend `torch`.

Source: Mamba (arXiv 2312.00752), section 3.6; S4D (arXiv 2206.11893), section 3.3.
"""

import torch
from torch import Tensor

from unveil.errors import BackendUnavailableError, InputError
from unveil.ops.dispatch import named_backend
from unveil.ops.selective_scan import chunked, reference
from unveil.ops.selective_scan.contract import (
    BACKENDS,
    Backend,
    Layout,
    ScanArguments,
    check_1d,
    state_dtype,
)


def complex_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    layout: Layout = "bdl",
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Scan sequences with complex states.

    Args:
        u: Real, `(b, d, l)`, or `(b, l, d)` in layout "bld".
        delta: As `u`.
        A: Complex, `(d, n)`.
        B: Complex or real, `(d, n)`, `(b, n, l)` or `(b, g, n, l)`; "bld": `(b, l, [g,] n)`.
        C: As `B`.
        D: Real, `(d,)`, or None.
        z: As `u`, or None.
        delta_bias: Real, `(d,)`, or None.
        delta_softplus: Whether delta passes through softplus.
        layout: Order of the axes.
        backend: "reference" is the loop over tokens, "auto" and "torch" the loop over chunks.

    Returns:
        The result, shaped and typed as `u`, and the complex state after the last token `(b, d, n)`.

    Raises:
        InputError: A shape does not fit.
        BackendUnavailableError: The backend is "native" or "triton".
    """
    named = named_backend(backend, BACKENDS)
    if named in ("native", "triton"):
        raise BackendUnavailableError(f"the {named} backend cannot run this call: A is {A.dtype}")
    scan = reference.scan if named == "reference" else chunked.scan
    real_A, real_B, real_C = (x.real if x.is_complex() else x for x in (A, B, C))
    arguments = ScanArguments(
        u, delta, real_A, real_B, real_C, D, z, delta_bias, delta_softplus, layout=layout
    )
    check_1d(arguments)
    real = state_dtype(arguments)
    if layout == "bdl":
        u, delta = u.mT, delta.mT
        z = None if z is None else z.mT
    B, C = (_by_group(x.to(real.to_complex()), layout) for x in (B, C))
    x = u.to(real)
    steps = reference.step_sizes(delta.to(real), delta_bias, delta_softplus)
    state = B.new_zeros(u.shape[0], u.shape[2], A.shape[1])
    if x.numel() == 0:
        return torch.zeros_like(u.mT if layout == "bdl" else u), state
    y, last = scan(x, steps, A.to(state.dtype), B, C, state)
    result = reference.gated(2 * y.real, x, D, None if z is None else z.to(real)).to(u.dtype)
    return (result.mT.contiguous() if layout == "bdl" else result), last


def paired(x: Tensor) -> Tensor:
    """Join real and imaginary parts, which alternate along the last axis; complex input stays.

    Args:
        x: `(…, 2 m)`.

    Returns:
        `(…, m)`, complex.

    Raises:
        InputError: The last axis has an odd size.

    >>> paired(torch.tensor([1.0, 2.0]))
    tensor([1.+2.j])
    """
    if x.is_complex():
        return x
    if x.shape[-1] % 2:
        raise InputError(
            f"B or C has shape {tuple(x.shape)}, expected an even last size: "
            "with a complex A, real and imaginary parts alternate"
        )
    wide = x if x.dtype == torch.float64 else x.float()
    return torch.view_as_complex(wide.reshape(*x.shape[:-1], x.shape[-1] // 2, 2).contiguous())


def _by_group(x: Tensor, layout: Layout) -> Tensor:
    """Shape B or C to `(b, l, g, n)`; constants become `(1, 1, d, n)`."""
    if x.dim() == 2:
        return x[None, None]
    if x.dim() == 3:
        x = x.unsqueeze(1 if layout == "bdl" else 2)
    return x.permute(0, 3, 1, 2) if layout == "bdl" else x
