"""The selective scan in the kernel library, registered with torch: autograd, fake tensors, compile.

Both directions are operators of their own, `unveil::selective_scan` and
`unveil::selective_scan_backward`; the state and all sums are kept in float32 whatever the inputs
are, under autocast, too.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from unveil.errors import BackendUnavailableError
from unveil.ops import native as library
from unveil.ops._fused import call, recorded
from unveil.ops.dispatch import (
    has_library,
    is_plain,
    is_tracing,
    needs_gradients,
    refusal,
    unfit,
)
from unveil.ops.selective_scan.contract import ScanArguments
from unveil.ops.selective_scan.packing import Sizes, pack, shares_delta

# Tokens between two states kept for the backward.
SEGMENT = 32

_TENSORS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, "
    "Tensor? delta_bias, Tensor? initial_state, Tensor? delta_weight"
)
# One string for the orders: torch.jit.trace records no lists of strings.
_OPTIONS = "bool delta_softplus, str layout, str orders"
_GRADIENTS = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state", "delta_weight")

# Typed loosely: torch leaves these functions untyped.
_ops: Any = torch.library.Library("unveil", "FRAGMENT")  # type: ignore[no-untyped-call]
_ops.define(
    f"selective_scan({_TENSORS}, {_OPTIONS}, bool keep) "
    "-> (Tensor y, Tensor last_state, Tensor kept)"
)
_ops.define(
    f"selective_scan_backward(Tensor? dout, Tensor? dlast, Tensor kept, {_TENSORS}, {_OPTIONS}, "
    f"bool[] needed) -> ({', '.join(f'Tensor d_{name}' for name in _GRADIENTS)})"
)


def why_not(a: ScanArguments) -> str | None:
    """Return why the kernel library cannot run a call, None when it can.

    Args:
        a: Checked arguments.

    >>> x = torch.zeros(1, 2, 3, dtype=torch.float64)
    >>> why_not(ScanArguments(x, x, x[0], x, x, None, None, None, False))
    'the native backend cannot run this call: u is torch.float64, expected float32, bfloat16 or \
float16'
    """
    reason = unfit(a.tensors())
    if reason is not None:
        return refusal(reason)
    return None if has_library() else library.status().reason


def run(a: ScanArguments) -> tuple[Tensor, Tensor]:
    """Run a scan.

    Args:
        a: Checked arguments, of which `why_not` is None; `z` only for sequences.

    Returns:
        y, shaped and typed as u, and the last state (b, d, n), for the 2-D form (b, k, d, n).
    """
    tensors = (
        a.u, a.delta, a.A, a.B, a.C, a.D, a.z, a.delta_bias, a.initial_state, a.delta_weight,
    )  # fmt: skip
    # A traced graph serves with and without gradients; its backward recomputes the states.
    keep = needs_gradients(tensors) and not is_tracing()
    options = (a.delta_softplus, a.layout, ",".join(a.orders), keep)
    operator = torch.ops.unveil.selective_scan.default
    y, last, _ = call(operator, _recorded, _forward, tensors, options)
    return y, last


@cache
def _functions() -> tuple[Any, Any, Any]:
    """Declare the entry points: each takes the address of a `ScanArgs`."""
    handle = library.load()
    if handle.unveil_scan_segment() != SEGMENT:
        raise BackendUnavailableError("the kernel library is of another version: build it anew")
    functions = (
        handle.unveil_scan_forward,
        handle.unveil_scan_backward,
        handle.unveil_scan_backward_parts,
    )
    for function in functions:
        function.argtypes = [ctypes.c_char_p]
        function.restype = None
    functions[2].restype = ctypes.c_int64
    return functions


def _collect(tensors: tuple[Any, ...], options: tuple[Any, ...]) -> ScanArguments:
    u, delta, A, B, C, D, z, bias, initial, weight = tensors
    softplus, layout, orders = options
    return ScanArguments(
        u, delta, _wide(A), _constant(B), _constant(C), _wide(D), z, _wide(bias), softplus,
        _wide(initial), layout, tuple(orders.split(",")), _wide(weight),
    )  # fmt: skip


def _wide(x: Any) -> Any:
    return x if x is None or x.dtype == torch.float32 else x.float()


def _constant(x: Any) -> Any:
    return _wide(x) if x.dim() == 2 else x


def _new_results(a: ScanArguments, sizes: Sizes, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.empty_like(a.u)
    directions = (sizes.directions,) if a.layout == "bhwd" else ()
    segments = -(-sizes.length // SEGMENT) if keep else 0
    last_shape = (sizes.batch, *directions, sizes.channels, sizes.states)
    kept_shape = (sizes.batch, sizes.directions, segments, sizes.states, sizes.channels)
    last = a.u.new_empty(last_shape, dtype=torch.float32)
    kept = a.u.new_empty(kept_shape, dtype=torch.float32)
    return y, last, kept


def _forward(*values: Any) -> tuple[Tensor, Tensor, Tensor]:
    a, keep = _collect(values[:10], values[10:13]), values[13]
    sizes = Sizes.of(a)
    y, last, kept = _new_results(a, sizes, keep)
    library.on_large_pages(y)
    if a.u.numel() == 0:
        return y, last.zero_() if a.initial_state is None else last.copy_(a.initial_state), kept
    # Sums over directions are taken in float32.
    wide = _wide(y) if sizes.directions > 1 else y
    _functions()[0](pack(a, sizes, out=wide, last=last, kept=kept if keep else None))
    return y if wide is y else y.copy_(wide), last, kept


def _forward_fake(*values: Any) -> tuple[Tensor, Tensor, Tensor]:
    a = _collect(values[:10], values[10:13])
    return _new_results(a, Sizes.of(a), values[13])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(output[2], *inputs[:10])
    ctx.options = inputs[10:13]
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, dout: Tensor | None, dlast: Tensor | None, _: Any) -> tuple[Any, ...]:
    kept, *tensors = ctx.saved_tensors
    if dout is None and dlast is None:
        return (None,) * 14
    needed = list(ctx.needs_input_grad[:10])
    run_backward: Any = torch.ops.unveil.selective_scan_backward.default
    if is_plain((dout, dlast, kept, *tensors)):
        run_backward = _backward
    gradients = run_backward(dout, dlast, kept, *tensors, *ctx.options, needed)
    found = (d if wanted else None for d, wanted in zip(gradients, needed, strict=True))
    return (*found, None, None, None, None)


_recorded = recorded(_forward, _save, _differentiate)


def _backward(
    dout: Tensor | None, dlast: Tensor | None, kept: Tensor, *values: Any
) -> tuple[Tensor, ...]:
    tensors, needed = values[:10], dict(zip(_GRADIENTS, values[13], strict=True))
    a = _collect(tensors, values[10:13])
    sizes = Sizes.of(a)
    if a.u.numel() == 0:
        return _gradients_of_nothing(dlast, _backward_fake(dout, dlast, kept, *values))
    if kept.shape[2] == 0:
        kept = _forward(*values[:13], True)[2]
    _, backward, count_parts = _functions()
    parts = count_parts(sizes.packed())
    buffers = _buffers(a, sizes, parts, needed)
    gradients = {"dout": dout, "dlast": _wide(dlast), **buffers}
    backward(pack(a, sizes, kept=kept, parts=parts, gradients=gradients))
    return tuple(
        _sum_up(a, name, buffers[name]).to(x.dtype) if needed[name] else a.u.new_empty(0)
        for name, x in zip(_GRADIENTS, tensors, strict=True)
    )


def _backward_fake(*values: Any) -> tuple[Tensor, ...]:
    tensors, needed = values[3:13], values[16]
    like_input = ("u", "delta", "z", "initial_state")
    return tuple(
        values[3].new_empty(0)
        if not wanted
        else (torch.empty_like(x) if name in like_input else x.new_empty(x.shape))
        for name, x, wanted in zip(_GRADIENTS, tensors, needed, strict=True)
    )


def _gradients_of_nothing(
    dlast: Tensor | None, gradients: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Without tokens nothing depends on the arguments, but the last state is the initial one."""
    for gradient in gradients:
        gradient.zero_()
    initial = gradients[_GRADIENTS.index("initial_state")]
    if dlast is not None and initial.shape == dlast.shape:
        initial.copy_(dlast)
    return gradients


def _buffers(
    a: ScanArguments, sizes: Sizes, parts: int, needed: dict[str, bool]
) -> dict[str, Tensor | None]:
    """Allocate what the kernel writes gradients to; sums over threads come in parts."""
    per_batch = (sizes.batch, sizes.directions, sizes.channels)

    def wide(*shape: int) -> Tensor:
        return a.u.new_empty(shape, dtype=torch.float32)

    def large(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        return library.on_large_pages(torch.empty_like(x, dtype=dtype))

    def sums(x: Tensor) -> Tensor:
        return a.u.new_zeros((parts, *x.shape), dtype=torch.float32)

    def projection(x: Tensor) -> Tensor:
        return wide(sizes.batch, *x.shape) if x.dim() == 2 else sums(x)

    summed = sizes.rank > 0 or shares_delta(a, sizes)
    makers: dict[str, Callable[[Tensor], Tensor]] = {
        "u": lambda x: large(x, torch.float32 if sizes.directions > 1 else None),
        "delta": sums if summed else large,
        "A": lambda _: wide(*per_batch, sizes.states),
        "B": projection,
        "C": projection,
        "D": lambda _: wide(*per_batch),
        "z": torch.empty_like,
        "delta_bias": lambda _: wide(*per_batch),
        "initial_state": torch.empty_like,
        "delta_weight": lambda _: wide(*per_batch, sizes.rank),
    }
    return {name: make(getattr(a, name)) if needed[name] else None for name, make in makers.items()}


def _sum_up(a: ScanArguments, name: str, buffer: Any) -> Any:
    """Add up the parts of a gradient, or its values per batch element."""
    x: Tensor = getattr(a, name)
    if name in ("u", "z", "initial_state") or (name == "delta" and buffer.shape == x.shape):
        return buffer
    if name in ("B", "C", "delta"):
        return buffer[0] if buffer.shape[0] == 1 else buffer.sum(0)
    total = buffer.sum((0, 1)) if a.layout != "bhwd" else buffer.sum(0)
    return total.sum(0, keepdim=True) if total.shape != x.shape else total


_ops.impl("selective_scan", _forward, "CPU")
_ops.impl("selective_scan_backward", _backward, "CPU")
torch.library.register_fake("unveil::selective_scan", _forward_fake, lib=_ops)
torch.library.register_fake("unveil::selective_scan_backward", _backward_fake, lib=_ops)
torch.library.register_autograd(
    "unveil::selective_scan", _differentiate, setup_context=_save, lib=_ops
)
