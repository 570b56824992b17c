"""How the fused passes choose between the kernel library and plain PyTorch operations."""

import ctypes
from collections.abc import Iterable
from enum import Enum
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from unveil.errors import BackendUnavailableError, InputError
from unveil.ops import native

Backend = Literal["auto", "reference", "native"]

BACKENDS: tuple[Backend, ...] = ("auto", "reference", "native")
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Where the library's pointers can be taken at once; fake tensors and other subclasses go through
# the registered operator.
_PLAIN_TYPES = (Tensor, nn.Parameter, type(None))


def refuse_second_derivatives() -> None:
    """Raise in a kernel's backward that is itself to be differentiated.

    Called there, as PyTorch's own decorator for this doubles the cost of a call.

    Raises:
        BackendUnavailableError: It is.
    """
    if torch.is_grad_enabled():
        raise BackendUnavailableError(
            "the native backend has no second derivatives: ask for backend='reference'"
        )


class Route(Enum):
    """How a call runs."""

    PLAIN = "plain PyTorch operations"
    DIRECT = "the library, called at once"
    OPERATOR = "the library, as an operator that torch.compile and torch.jit.trace can see"


@cache
def library() -> ctypes.CDLL | None:
    """Return the kernel library, None where there is none."""
    try:
        return native.load()
    except BackendUnavailableError:
        return None


def route(backend: Backend, *tensors: Tensor | None) -> Route:
    """Choose how a call runs.

    Args:
        backend: What the caller asked for.
        tensors: The call's tensors, the first one being the features.

    Raises:
        InputError: There is no such backend.
        BackendUnavailableError: ``"native"`` was asked for and cannot run this call.
    """
    if backend == "reference":
        return Route.PLAIN
    if backend not in BACKENDS:
        raise InputError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
    reason = _hindrance(tensors)
    if reason is not None:
        if backend == "native":
            raise BackendUnavailableError(f"the native backend cannot run this call: {reason}")
        return Route.PLAIN
    if torch.compiler.is_compiling() or is_tracing():
        return Route.OPERATOR
    if library() is None:
        if backend == "native":
            raise BackendUnavailableError(native.status().reason)
        return Route.PLAIN
    return Route.DIRECT if is_plain(tensors) else Route.OPERATOR


def is_plain(tensors: Iterable[Tensor | None]) -> bool:
    """Whether nothing records, wraps or intercepts a call, so that the dispatcher can be skipped.

    Tracers, compilers and counters see only what passes the dispatcher: a kernel called at once is
    missing from their record.

    Args:
        tensors: The call's tensors.

    >>> is_plain([torch.zeros(2), None])
    True
    """
    return not (
        torch.compiler.is_compiling()
        or is_tracing()
        or torch._C._len_torch_dispatch_stack()
        or any(type(x) not in _PLAIN_TYPES for x in tensors)
    )


def is_tracing() -> bool:
    """Whether `torch.jit.trace` records.

    >>> is_tracing()
    False
    """
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def transformed() -> str | None:
    """Return why the kernels cannot take part in a function transform; None outside of one.

    >>> transformed() is None
    True
    """
    if torch.compiler.is_compiling():
        return None
    if forward_ad._current_level >= 0:
        return "it has no forward-mode derivative"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "torch.func transforms plain operations only"
    return None


def _hindrance(tensors: tuple[Tensor | None, ...]) -> str | None:
    """Say why the kernels cannot run on these tensors; None when they can."""
    if torch.compiler.is_exporting():
        return "an exported graph holds plain operations only"
    reason = transformed()
    if reason is not None:
        return reason
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.device.type != "cpu":
            return f"a tensor is on {tensor.device}, expected cpu"
        if tensor.dtype not in _DTYPES:
            return f"a tensor is {tensor.dtype}, expected float32, bfloat16 or float16"
        if tensor.numel() == 0:
            return "a tensor is empty"
    return None
