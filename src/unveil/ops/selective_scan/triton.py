"""The selective scan on a GPU, by the kernels in `triton_kernels`.

Bias, softplus, D and the gate happen inside the kernels, and every tensor is read through its
strides: "bdl" and "bld" need no copies, reversed orders none either; orders by column take one.
dB and dC are summed by atomic additions, so their last bits vary from run to run.

The kernels are tested with Triton's interpreter and compile for sm_80 and sm_90; they have not yet
run on a GPU.
"""

import math
import os
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from unveil.ops.selective_scan.contract import ScanArguments

# Tokens and channels a program holds at once: with n = 16 that is 2,048 numbers per quantity.
TOKENS, CHANNELS = 32, 4


def why_not(arguments: ScanArguments) -> str | None:
    """Return why this backend cannot run a call, or None if it can.

    Args:
        arguments: Checked arguments.

    >>> x = torch.zeros(1, 2, 3, dtype=torch.float64)
    >>> why_not(ScanArguments(x, x, x[0], x, x, None, None, None, False)) is None
    False
    """
    if find_spec("triton") is None:
        return "the triton backend needs triton, which is not installed"
    if any(value.dtype == torch.float64 for _, value in arguments.tensors()):
        return "the triton backend computes in float32 and was given float64"
    # Triton's own switch: its interpreter runs kernels on the CPU, for tests.
    if not arguments.u.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        return f"the triton backend runs on CUDA devices; u is on {arguments.u.device}"
    return None


def run_1d(arguments: ScanArguments) -> tuple[Tensor, Tensor]:
    """Run a 1-D scan.

    Args:
        arguments: Checked arguments, layout "bdl" or "bld", of which `why_not` is None.

    Returns:
        y, shaped and typed as u, and the last state (b, d, n).
    """
    a = arguments
    turned = a.layout == "bdl"
    u, delta, z = (
        (a.u.mT, a.delta.mT, None if a.z is None else a.z.mT) if turned else (a.u, a.delta, a.z)
    )
    B, C = (_projection(x, turned) for x in (a.B, a.C))
    d, n = u.shape[2], a.A.shape[1]
    delta, A = delta.expand(-1, -1, d), a.A.expand(d, n)
    bias = None if a.delta_bias is None else a.delta_bias.expand(d)
    y, last = _scan(u, delta, A, B, C, a.D, z, bias, a.initial_state, a.delta_softplus)
    return (y.mT if turned else y), last


def run_2d(arguments: ScanArguments) -> Tensor:
    """Run a 2-D scan, one direction after the other.

    Args:
        arguments: Checked arguments, layout "bhwd", of which `why_not` is None.

    Returns:
        y (b, h, w, d), typed as u.
    """
    a = arguments
    total: Tensor | None = None
    height, width = a.u.shape[1:3]
    for k, order in enumerate(a.orders):
        by_column = order.startswith("column")
        delta = a.delta[:, :, :, k]
        if a.delta_weight is not None:
            delta = torch.nn.functional.linear(delta, a.delta_weight[k].to(delta.dtype))
        images = (a.u, delta, a.B[:, :, :, k], a.C[:, :, :, k])
        u, delta, B, C = (_tokens(image, by_column) for image in images)
        D, bias = (None if p is None else p[k] for p in (a.D, a.delta_bias))
        y, _ = _scan(
            *(u.float(), delta, a.A[k], B.unsqueeze(-1), C.unsqueeze(-1), D, None, bias, None),
            softplus=a.delta_softplus,
            reverse=order.endswith("reversed"),
        )
        shape = (len(y), width, height, -1) if by_column else (len(y), height, width, -1)
        y = y.view(shape).transpose(1, 2) if by_column else y.view(shape)
        total = y if total is None else total + y
    assert total is not None
    return (total if a.z is None else total * silu(a.z.float())).to(a.u.dtype)


def _projection(x: Tensor, turned: bool) -> Tensor:
    """Shape B or C to (b, l, n, g), with 1 for b and l if it is constant."""
    if x.dim() == 2:
        return x.t()[None, None]
    if x.dim() == 3:
        return (x.mT if turned else x).unsqueeze(-1)
    return x.permute(0, 3, 2, 1) if turned else x.mT


def _tokens(image: Tensor, by_column: bool) -> Tensor:
    return (image.transpose(1, 2) if by_column else image).flatten(1, 2)


def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    state: Tensor | None,
    softplus: bool,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Scan tokens (b, l, d) with B and C (b, l, n, g); return y and the last state."""
    if u.numel() == 0:
        return u * delta, u.new_zeros(u.shape[0], *A.shape).float() if state is None else state
    D, bias, state = (None if x is None else x.contiguous() for x in (D, bias, state))
    given = (u, delta, A.float().contiguous(), B, C, D, z, bias, state)
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given)
    y, last, _ = _forward(*given, softplus, reverse, keep)
    return y, last


_ARGUMENTS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? bias"
)


@torch.library.custom_op(
    "unveil::selective_scan_triton",
    mutates_args=(),
    schema=f"({_ARGUMENTS}, Tensor? state, bool softplus, bool reverse, bool keep)"
    " -> (Tensor, Tensor, Tensor)",
)
def _forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    state: Tensor | None,
    softplus: bool,
    reverse: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    from unveil.ops.selective_scan import triton_kernels as kernels  # noqa: PLC0415 (an extra)

    y, last, kept = _results(u, A, keep)
    grid, sizes, blocks = _launch(u, A, B, C)
    with _device_of(u):
        kernels.forward[grid](
            *_strided(u, delta), A, *_wide(u, B, C), D, *_strided(z), bias, state,
            *_strided(y), last, kept if keep else None, *sizes,
            SOFTPLUS=softplus, REVERSE=reverse, **blocks,
        )  # fmt: skip
    return y, last, kept


@_forward.register_fake
def _forward_fake(u: Tensor, delta: Tensor, A: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    del delta
    return _results(u, A, rest[-1])


def _results(u: Tensor, A: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    chunks = -(-u.shape[1] // TOKENS) if keep else 0
    last = u.new_empty(u.shape[0], *A.shape, dtype=torch.float32)
    kept = u.new_empty(u.shape[0], chunks, *A.shape, dtype=torch.float32)
    return torch.empty_like(u), last, kept


@torch.library.custom_op(
    "unveil::selective_scan_triton_backward",
    mutates_args=(),
    schema=f"({_ARGUMENTS}, Tensor kept, Tensor dy, Tensor dlast, bool softplus, bool reverse)"
    " -> Tensor[]",
)
def _backward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    kept: Tensor,
    dy: Tensor,
    dlast: Tensor,
    softplus: bool,
    reverse: bool,
) -> list[Tensor]:
    from unveil.ops.selective_scan import triton_kernels as kernels  # noqa: PLC0415 (an extra)

    results = _gradients(u, delta, A, B, C, z)
    du, ddelta, dA, dB, dC, dD, dz, dbias, dstate = results
    dB_wide, dB_strides, dC_wide, dC_strides = _wide(u, dB.zero_(), dC.zero_())
    grid, sizes, blocks = _launch(u, A, B, C)
    with _device_of(u):
        kernels.backward[grid](
            *_strided(u, delta), A, *_wide(u, B, C), D, *_strided(z), bias, kept,
            *_strided(dy), dlast.contiguous(), *_strided(du, ddelta), dA, dB_wide, dC_wide,
            dB_strides, dC_strides, dD, *_strided(None if z is None else dz), dbias, dstate,
            *sizes, SOFTPLUS=softplus, REVERSE=reverse, **blocks,
        )  # fmt: skip
    return results


@_backward.register_fake
def _backward_fake(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, *rest: Any
) -> list[Tensor]:
    del D
    return _gradients(u, delta, A, B, C, rest[0])


def _gradients(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, z: Tensor | None
) -> list[Tensor]:
    """Allocate du, ddelta, dA, dB, dC, dD, dz, dbias, dstate; those of parameters per sequence."""
    batch, _, d = u.shape

    def wide(*shape: int) -> Tensor:
        return u.new_empty(shape, dtype=torch.float32)

    return [
        torch.empty_like(u),
        torch.empty_like(delta),
        wide(batch, *A.shape),
        wide(*B.shape),
        wide(*C.shape),
        wide(batch, d),
        u.new_empty(0) if z is None else torch.empty_like(z),
        wide(batch, d),
        wide(batch, *A.shape),
    ]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, state, softplus, reverse, _ = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.options, ctx.has_state = (softplus, reverse), state is not None


def _differentiate(ctx: Any, dy: Tensor, dlast: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, kept = ctx.saved_tensors
    *_, B, C, D, z, bias = tensors
    found = _backward(*tensors, kept, dy, dlast, *ctx.options)
    du, ddelta, dA, dB, dC, dD, dz, dbias, dstate = found
    return (
        *(du, ddelta, dA.sum(0), dB.to(B.dtype), dC.to(C.dtype)),
        None if D is None else dD.sum(0).to(D.dtype),
        None if z is None else dz,
        None if bias is None else dbias.sum(0).to(bias.dtype),
        dstate if ctx.has_state else None,
        *(None, None, None),
    )


_forward.register_autograd(_differentiate, setup_context=_save)


def _launch(
    u: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> tuple[tuple[int, int], tuple[int, ...], dict[str, int]]:
    """Return the grid, the sizes and the block sizes of a launch."""
    batch, length, d = u.shape
    B_width, C_width = d // B.shape[3], d // C.shape[3]
    # The channels of one program share a group of B and one of C.
    channels = math.gcd(CHANNELS, B_width, C_width)
    states = max(2, 1 << (A.shape[1] - 1).bit_length())
    blocks = {"TOKENS": TOKENS, "CHANNELS": channels, "STATES": states}
    return (d // channels, batch), (length, d, A.shape[1], B_width, C_width), blocks


def _device_of(u: Tensor) -> AbstractContextManager[Any]:
    return torch.cuda.device(u.device) if u.is_cuda else nullcontext()


def _strided(*tensors: Tensor | None) -> list[Any]:
    """Return each tensor, followed by its strides."""
    return [part for x in tensors for part in (x, (0, 0, 0) if x is None else x.stride())]


def _wide(u: Tensor, *projections: Tensor) -> list[Any]:
    """Return B and C, expanded to u's batch and length, and their strides."""
    batch, length, _ = u.shape
    return _strided(*(x.expand(batch, length, -1, -1) for x in projections))
