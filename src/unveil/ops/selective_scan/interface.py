"""`selective_scan` and `selective_scan_2d`: check, choose a backend, run."""

import logging
import math
import os
import warnings
from dataclasses import replace
from functools import cache
from typing import Any, Literal, overload

import torch
from torch import Tensor
from torch.nn.functional import silu

from unveil.errors import BackendUnavailableError
from unveil.ops import native as library
from unveil.ops.dispatch import named_backend
from unveil.ops.selective_scan import chunked, native, plain, reference
from unveil.ops.selective_scan.contract import (
    BACKENDS,
    Backend,
    Layout,
    ScanArguments,
    ScanOrder,
    check_1d,
    check_2d,
    check_finite,
)

_log = logging.getLogger("unveil.ops")
_LOOPS: dict[str, plain.Loop] = {"reference": reference.scan, "torch": chunked.scan}


@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: Literal[False] = False,
    *,
    initial_state: Tensor | None = None,
    layout: Layout = "bdl",
    backend: Backend = "auto",
) -> Tensor: ...


@overload
def selective_scan(
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
    return_last_state: Literal[True],
    initial_state: Tensor | None = None,
    layout: Layout = "bdl",
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]: ...


@overload
def selective_scan(
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
    initial_state: Tensor | None = None,
    layout: Layout = "bdl",
    backend: Backend = "auto",
) -> Tensor | tuple[Tensor, Tensor]: ...


def selective_scan(
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
    initial_state: Tensor | None = None,
    layout: Layout = "bdl",
    backend: Backend = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Scan a sequence: h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t, y_t = C_t h_t + D u_t.

    Shapes are given for `layout` "bdl"; "bld" swaps the last two axes of u, delta and z, and takes
    (b, l, n) or (b, l, g, n) for B and C. The state is kept in float32 (float64 if u is).

    Args:
        u: Input (b, d, l).
        delta: Step sizes (b, d, l) or (b, 1, l); may be expanded, it is read as it is.
        A: (d, n) or (1, n), negative for a state that decays.
        B: Constant (d, n), per token (b, n, l), or per token and group (b, g, n, l).
        C: As B.
        D: Weight of the input in the output (d,).
        z: Gate (b, d, l): the output is multiplied by SiLU(z).
        delta_bias: Added to delta (d,) or (1,).
        delta_softplus: Whether delta (with its bias) passes through softplus.
        return_last_state: Whether to return the last state, too.
        initial_state: State before the first token (b, d, n); zero if not given.
        layout: Order of the axes, "bdl" or "bld".
        backend: "auto", or "reference", "native", "torch" or "triton": it runs or raises.

    Returns:
        y, shaped and typed as u; with `return_last_state`, y and the state (b, d, n).

    Raises:
        InputError: An argument has the wrong shape, dtype or device.
        BackendUnavailableError: The backend asked for cannot run this call.

    Source: Gu and Dao, "Mamba" (arXiv:2312.00752), equations 2a and 4.

    >>> u, A = torch.ones(1, 1, 3), -torch.ones(1, 1)
    >>> B = C = torch.ones(1, 1, 3)
    >>> selective_scan(u, u, A, B, C)
    tensor([[[1.0000, 1.3679, 1.5032]]])
    """
    arguments = ScanArguments(
        u, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state, layout
    )
    check_1d(arguments)
    chosen = choose_backend(backend, arguments)
    if chosen == "native":
        y, last_state = native.run(_same_groups(arguments))
    elif chosen == "triton":
        y, last_state = _triton().run_1d(arguments)
    else:
        y, last_state = plain.run_1d(arguments, _LOOPS[chosen])
    return (y, last_state) if return_last_state else y


def selective_scan_2d(
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
    orders: tuple[ScanOrder, ...] = ("row",),
    delta_weight: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Scan an image's tokens in k orders, each with its own parameters, and sum the outputs.

    Every order runs through the whole image: the state carries on across the ends of rows and
    columns, and "reversed" is the whole sequence backwards.

    Args:
        u: Image features (b, h, w, d).
        delta: Step sizes (b, h, w, k, d), or their factors (b, h, w, k, r) with `delta_weight`.
        A: (k, d, n).
        B: (b, h, w, k, n).
        C: (b, h, w, k, n).
        D: (k, d).
        z: Gate (b, h, w, d) on the sum.
        delta_bias: (k, d).
        delta_softplus: Whether delta (with its bias) passes through softplus.
        orders: One of "row", "column", "row_reversed", "column_reversed" for each k.
        delta_weight: (k, d, r); the step sizes are then delta_weight times delta.
        backend: "auto", or "reference", "native", "torch" or "triton": it runs or raises.

    Returns:
        y (b, h, w, d), typed as u.

    Raises:
        InputError: An argument has the wrong shape, dtype or device.
        BackendUnavailableError: The backend asked for cannot run this call.

    >>> u, A = torch.ones(1, 2, 2, 1), -torch.ones(2, 1, 1)
    >>> ones = torch.ones(1, 2, 2, 2, 1)
    >>> y = selective_scan_2d(u, ones, A, ones, ones, orders=("row", "row_reversed"))
    >>> y.flatten()
    tensor([2.5530, 2.8711, 2.8711, 2.5530])
    """
    arguments = ScanArguments(
        u, delta, A, B, C, D, z, delta_bias, delta_softplus,
        layout="bhwd", orders=tuple(orders), delta_weight=delta_weight,
    )  # fmt: skip
    check_2d(arguments)
    chosen = choose_backend(backend, arguments)
    if chosen == "triton":
        summed: Tensor = _triton().run_2d(arguments)
        return summed
    if chosen != "native":
        return plain.run_2d(arguments, _LOOPS[chosen])
    y, _ = native.run(replace(arguments, z=None))
    return y if z is None else y * silu(z)


def choose_backend(backend: Backend, arguments: ScanArguments) -> str:
    """Return the backend that runs a call.

    The environment variable ``UNVEIL_SCAN_BACKEND`` takes the place of "auto".

    Args:
        backend: What the caller asked for.
        arguments: Checked arguments.

    Returns:
        "reference", "native", "torch" or "triton".

    Raises:
        InputError: There is no such backend.
        BackendUnavailableError: The backend named cannot run this call.
    """
    chosen = named_backend(backend, BACKENDS)
    if os.environ.get("UNVEIL_CHECK_FINITE") == "1":
        check_finite(arguments)
    if chosen in _LOOPS:
        return chosen
    named = chosen != "auto"
    fast = chosen if named else ("triton" if arguments.u.is_cuda else "native")
    reason = (_triton() if fast == "triton" else native).why_not(arguments)
    if named and reason is not None:
        raise BackendUnavailableError(reason)
    if not named and not torch.compiler.is_compiling():
        _report(fast, reason, arguments.u.device.type)
    return fast if reason is None else "torch"


def _triton() -> Any:
    # Its import is slow and only GPUs need it.
    from unveil.ops.selective_scan import triton  # noqa: PLC0415

    return triton


@cache
def _report(backend: str, reason: str | None, device: str) -> None:
    """Tell each automatic choice once; on a CPU the slow one deserves a warning."""
    if reason is None:
        detail = f", {library.status().chosen}" if backend == "native" else ""
        _log.info("selective scan: %s backend%s", backend, detail)
        return
    _log.info("selective scan: torch backend, because %s", reason)
    if device == "cpu" and library.status().reason is not None:
        message = f"the selective scan runs on the slow PyTorch backend: {reason}"
        warnings.warn(message, RuntimeWarning, stacklevel=4)


def _same_groups(a: ScanArguments) -> ScanArguments:
    """Give B and C the same number of groups where both have several."""
    if a.B.dim() != 4 or a.C.dim() != 4:
        return a
    axis = 1 if a.layout == "bdl" else 2
    B_groups, C_groups = a.B.shape[axis], a.C.shape[axis]
    if B_groups == C_groups or 1 in (B_groups, C_groups):
        return a
    groups = math.lcm(B_groups, C_groups)
    B = a.B.repeat_interleave(groups // B_groups, axis)
    C = a.C.repeat_interleave(groups // C_groups, axis)
    return replace(a, B=B, C=C)
