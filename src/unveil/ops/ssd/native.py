"""Binding of the native kernels of Mamba-2's scan."""

from typing import Any

import torch
from torch import Tensor

from unveil.ops._fused import POINTER, SIZE, address, call, function, ready, recorded
from unveil.ops.dispatch import is_plain
from unveil.ops.ssd.chunked import CHUNK

_SIZES = (SIZE,) * 6
_TENSORS = "Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor D, Tensor initial"
_GRADIENTS = ("x", "dt", "A", "B", "C", "D", "initial")

# PyTorch leaves these functions untyped.
_ops: Any = torch.library.Library("unveil", "FRAGMENT")  # type: ignore[no-untyped-call]
_ops.define(f"ssd({_TENSORS}, Tensor? fresh) -> (Tensor y, Tensor last, Tensor kept)")
_ops.define(
    f"ssd_backward(Tensor? dy, Tensor? dlast, Tensor kept, {_TENSORS}, Tensor? fresh) -> "
    f"({', '.join(f'Tensor d_{name}' for name in _GRADIENTS)})"
)


def run(*tensors: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scan with the kernel library.

    Args:
        tensors: x, dt, A, B, C, D, initial, fresh; see `chunked.scan`.

    Returns:
        y (b, l, h, p) and the last state (b, h, p, n), float32.
    """
    *floats, fresh = tensors
    prepared = [None if x is None else ready(x) for x in floats]
    flags = None if fresh is None else fresh.to(torch.uint8).contiguous()
    operator = torch.ops.unveil.ssd.default
    y, last, _ = call(operator, _recorded, _forward, (*prepared, flags))
    return y, last


def _contiguous(tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(None if x is None else x.contiguous() for x in tensors)


def _sizes(x: Tensor, B: Tensor) -> tuple[int, ...]:
    return (*x.shape, *B.shape[2:])


def _results(x: Tensor, B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, tokens, heads, width, _, states = _sizes(x, B)
    chunks = -(-tokens // CHUNK)
    last = x.new_empty(batch, heads, width, states)
    return torch.empty_like(x), last, x.new_empty(batch, chunks, heads, states, width)


def _forward(*tensors: Any) -> tuple[Tensor, Tensor, Tensor]:
    tensors = _contiguous(tensors)
    x, _, _, B, *_ = tensors
    y, last, kept = _results(x, B)
    function("ssd_forward", *(POINTER,) * 11, *_SIZES)(
        *map(address, tensors), address(y), address(last), address(kept), *_sizes(x, B)
    )
    return y, last, kept


def _forward_fake(*tensors: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _results(tensors[0], tensors[3])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(output[2], *inputs)
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, dy: Tensor | None, dlast: Tensor | None, _: Any) -> tuple[Any, ...]:
    kept, *tensors = ctx.saved_tensors
    if dy is None and dlast is None:
        return (None,) * 8
    plain = is_plain((dy, dlast, kept, *tensors))
    run_backward: Any = _backward if plain else torch.ops.unveil.ssd_backward.default
    gradients = run_backward(dy, dlast, kept, *tensors)
    return (*gradients, None)


_recorded = recorded(_forward, _save, _differentiate)


def _backward(
    dy: Tensor | None, dlast: Tensor | None, kept: Tensor, *tensors: Any
) -> tuple[Tensor, ...]:
    x, dt, A, B, C, D, initial, fresh = _contiguous(tensors)
    chunks, heads = kept.shape[1:3]
    after = torch.empty_like(kept)
    dy = torch.zeros_like(x) if dy is None else ready(dy)
    dlast = None if dlast is None else ready(dlast)
    of_A = x.new_empty(x.shape[0], chunks, heads)
    of_D = x.new_empty(x.shape[0], chunks, heads, x.shape[3])
    of_x, of_dt, of_B, of_C, of_initial = map(torch.empty_like, (x, dt, B, C, initial))
    function("ssd_backward", *(POINTER,) * 18, *_SIZES)(
        *map(address, (x, dt, A, B, C, D, fresh, dy, dlast, kept, after)),
        *map(address, (of_x, of_dt, of_A, of_B, of_C, of_D, of_initial)),
        *_sizes(x, B),
    )
    return of_x, of_dt, of_A.sum((0, 1)), of_B, of_C, of_D.sum((0, 1)), of_initial


def _backward_fake(*values: Any) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in values[3:10])


_ops.impl("ssd", _forward, "CPU")
_ops.impl("ssd_backward", _backward, "CPU")
torch.library.register_fake("unveil::ssd", _forward_fake, lib=_ops)
torch.library.register_fake("unveil::ssd_backward", _backward_fake, lib=_ops)
torch.library.register_autograd("unveil::ssd", _differentiate, setup_context=_save, lib=_ops)
