"""Run checked arguments through a loop in plain PyTorch: the backends `reference` and `torch`."""

from collections.abc import Callable

import torch
from torch import Tensor

from unveil.ops.selective_scan.contract import ScanArguments, ScanOrder, state_dtype
from unveil.ops.selective_scan.reference import gated, step_sizes

Loop = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def run_1d(arguments: ScanArguments, loop: Loop) -> tuple[Tensor, Tensor]:
    """Run a 1-D scan.

    Args:
        arguments: Checked arguments, layout "bdl" or "bld".
        loop: `reference.scan` or `chunked.scan`.

    Returns:
        y, shaped and typed as u, and the last state (b, d, n).
    """
    a, dtype = arguments, state_dtype(arguments)
    d, n = a.u.shape[1 if a.layout == "bdl" else 2], a.A.shape[1]
    with _no_autocast(a.u):
        u, delta, z = (_channels_last(x, a.layout, dtype) for x in (a.u, a.delta, a.z))
        assert u is not None
        assert delta is not None
        B, C = (_projection(x, (d, n), a.layout, dtype) for x in (a.B, a.C))
        delta = step_sizes(delta, _cast(a.delta_bias, dtype), a.delta_softplus)
        state = _cast(a.initial_state, dtype)
        if state is None:
            state = u.new_zeros(u.shape[0], d, n)
        y, last = _run(loop, u, delta, a.A.to(dtype), B, C, state)
        y = gated(y, u, _cast(a.D, dtype), z).to(a.u.dtype)
    # Callers take views of it, as of the kernels' results.
    return (y.mT.contiguous() if a.layout == "bdl" else y), last


def run_2d(arguments: ScanArguments, loop: Loop) -> Tensor:
    """Run a 2-D scan: each direction on reordered tokens, its result put back and summed.

    Args:
        arguments: Checked arguments, layout "bhwd".
        loop: `reference.scan` or `chunked.scan`.

    Returns:
        y (b, h, w, d), typed as u.
    """
    a, dtype = arguments, state_dtype(arguments)
    batch, height, width, d = a.u.shape
    with _no_autocast(a.u):
        u = a.u.to(dtype).flatten(1, 2)
        delta, B, C = (x.to(dtype).flatten(1, 2) for x in (a.delta, a.B, a.C))
        if a.delta_weight is not None:
            delta = torch.einsum("blkr,kdr->blkd", delta, a.delta_weight.to(dtype))
        delta = step_sizes(delta, _cast(a.delta_bias, dtype), a.delta_softplus)
        total = torch.zeros_like(u)
        for k, order in enumerate(a.orders):
            tokens = token_order(order, height, width, u.device)
            state = u.new_zeros(batch, d, a.A.shape[2])
            B_k, C_k = (x[:, tokens, k].unsqueeze(2) for x in (B, C))
            y, _ = _run(loop, u[:, tokens], delta[:, tokens, k], a.A[k].to(dtype), B_k, C_k, state)
            total = total + y[:, torch.argsort(tokens)]
        D = None if a.D is None else a.D.to(dtype).sum(0)
        z = None if a.z is None else a.z.to(dtype).flatten(1, 2)
        return gated(total, u, D, z).to(a.u.dtype).view(batch, height, width, d)


def token_order(
    order: ScanOrder, height: int, width: int, device: torch.device | None = None
) -> Tensor:
    """Return the row-major index of the image's tokens in the order they are scanned.

    Args:
        order: Name of the scan order.
        height: Rows.
        width: Columns.
        device: Where the result lives.

    Returns:
        (height * width,) int64.

    >>> token_order("column", 2, 3).tolist()
    [0, 3, 1, 4, 2, 5]
    >>> token_order("row_reversed", 2, 2).tolist()
    [3, 2, 1, 0]
    """
    tokens = torch.arange(height * width, device=device)
    if order.startswith("column"):
        tokens = tokens.view(height, width).mT.reshape(-1)
    return tokens.flip(0) if order.endswith("reversed") else tokens


def _run(
    loop: Loop, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    if u.numel() == 0:
        # A sum over nothing keeps the result attached to the arguments for autograd.
        nothing = u.sum() + delta.sum() * 0 + B.sum() * 0 + C.sum() * 0
        return u * 0 + nothing, state
    return loop(u, delta, A, B, C, state)


def _no_autocast(u: Tensor) -> torch.autocast:
    return torch.autocast(u.device.type, enabled=False)


def _cast(x: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if x is None else x.to(dtype)


def _channels_last(x: Tensor | None, layout: str, dtype: torch.dtype) -> Tensor | None:
    if x is None:
        return None
    return x.to(dtype).mT if layout == "bdl" else x.to(dtype)


def _projection(x: Tensor, sizes: tuple[int, int], layout: str, dtype: torch.dtype) -> Tensor:
    """Shape B or C to (b, l, g, n); constants become (1, 1, d, n)."""
    x = x.to(dtype)
    if x.dim() == 2:
        return x.view(1, 1, *sizes)
    if x.dim() == 3:
        x = x.unsqueeze(1 if layout == "bdl" else 2)
    return x.permute(0, 3, 1, 2) if layout == "bdl" else x
