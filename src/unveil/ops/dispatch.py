"""The one dispatcher of all operations: which backend runs a call, and how.

An operation checks its arguments and calls `route`, which chooses between the kernel library and
plain PyTorch operations. The scans, which have more backends, call `named_backend` first.
`_fused` runs the library's kernels and records them for autograd.
"""

import ctypes
import os
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from unveil.errors import BackendUnavailableError, InputError
from unveil.ops import native

OpBackend = Literal["auto", "reference", "native"]

BACKENDS: tuple[OpBackend, ...] = ("auto", "reference", "native")
# Takes the place of "auto" for the scans.
VARIABLE = "UNVEIL_SCAN_BACKEND"
_SCAN_BACKENDS = ("auto", "reference", "native", "torch", "triton")
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Where the library's pointers can be taken at once; fake tensors and other subclasses go through
# the registered operator.
_PLAIN_TYPES = (Tensor, nn.Parameter, type(None))


class Route(Enum):
    """How a call runs."""

    PLAIN = "plain PyTorch operations"
    DIRECT = "the library, called at once"
    OPERATOR = "the library, as an operator that torch.compile and torch.jit.trace can see"


def environment_backend() -> str | None:
    """Return the value of the environment variable ``UNVEIL_SCAN_BACKEND``; None if it is unset."""
    return os.environ.get(VARIABLE)


def named_backend(backend: str, names: Sequence[str]) -> str:
    """Return the backend that a call of a scan, or the environment in place of "auto", names.

    Args:
        backend: What the caller asked for.
        names: The backends that the operation has, with "auto". A backend that only other scans
            have, named by the environment, counts as "auto".

    Raises:
        InputError: There is no such backend.

    >>> named_backend("torch", ("auto", "torch"))
    'torch'
    """
    if backend not in names:
        _require_name(backend, names)
    named = os.environ.get(VARIABLE, "auto") if backend == "auto" else backend
    if named in names:
        return named
    _require_name(named, _SCAN_BACKENDS)
    return "auto"


def _require_name(backend: str, names: Sequence[str]) -> None:
    if backend not in names:
        raise InputError(f"backend is {backend!r}, expected one of {', '.join(names)}")


def route(
    backend: str,
    *tensors: Tensor | None,
    limit: str | None = None,
    function: str | None = None,
    products: str | None = None,
) -> Route:
    """Choose how a call runs.

    Args:
        backend: ``"auto"``, ``"reference"`` or ``"native"``, as the caller asked for.
        tensors: The call's tensors, the first one being the features.
        limit: Why this operation's kernel cannot run the call, if it cannot.
        function: A function that libraries built earlier lack.
        products: A function of matrix products, which ``"auto"`` takes where they are fast.

    Raises:
        InputError: There is no such backend.
        BackendUnavailableError: ``"native"`` was asked for and cannot run this call.
    """
    if backend == "reference":
        return Route.PLAIN
    if backend not in BACKENDS:
        _require_name(backend, BACKENDS)
    reason = limit or _unfit(tensors)
    if reason is not None:
        return _plain_unless_native(backend, refusal(reason))
    if function is not None and not has_function(function):
        return _plain_unless_native(backend, missing(function))
    if torch.compiler.is_compiling() or is_tracing():
        return Route.OPERATOR
    if library() is None:
        return _plain_unless_native(backend, native.status().reason)
    slow = products is not None and backend == "auto" and not has_fast_products(products)
    direct = Route.PLAIN if slow else Route.DIRECT
    return direct if is_plain(tensors) else Route.OPERATOR


def _plain_unless_native(backend: str, reason: str | None) -> Route:
    if backend == "native":
        raise BackendUnavailableError(reason)
    return Route.PLAIN


def refusal(reason: str) -> str:
    """Return the sentence that says why the native backend does not run a call.

    >>> refusal("a tensor is empty")
    'the native backend cannot run this call: a tensor is empty'
    """
    return f"the native backend cannot run this call: {reason}"


def missing(function: str) -> str:
    """Return why the library lacks a function: there is no library, or it was built before."""
    older = f"the kernel library has no function unveil_{function}: build it anew"
    return native.status().reason or older


def library() -> ctypes.CDLL | None:
    """Return the kernel library, None where there is none."""
    return native.load_or_none()


def has_library() -> bool:
    """Whether the kernel library is there and can be used."""
    return library() is not None


def has_function(name: str) -> bool:
    """Whether the kernel library is there and has the function ``unveil_{name}``."""
    return hasattr(library(), f"unveil_{name}")


def has_fast_products(function: str) -> bool:
    """Whether the library has a function of matrix products that are as fast as torch's.

    Portable ones are slower.

    Args:
        function: Its name, without ``unveil_``.
    """
    return has_function(function) and native.status().chosen != "portable"


# What `torch.compiler.assume_constant_result` sets; that function imports all of torch._dynamo,
# which takes as long as importing torch itself.
has_function._dynamo_marked_constant = True  # type: ignore[attr-defined]
has_library._dynamo_marked_constant = True  # type: ignore[attr-defined]


def unfit(tensors: Iterable[tuple[str, Tensor | None]]) -> str | None:
    """Return why the kernels cannot take tensors, or this call; None where they can.

    Args:
        tensors: Their names, for the message, and the tensors.

    >>> unfit([("u", torch.zeros(2, dtype=torch.float64))])
    'u is torch.float64, expected float32, bfloat16 or float16'
    """
    reason = transformed()
    if reason is not None:
        return reason
    for name, tensor in tensors:
        if tensor is not None and not _fits(tensor):
            return _misfit(name, tensor)
    return None


def _unfit(tensors: tuple[Tensor | None, ...]) -> str | None:
    if torch.compiler.is_exporting():
        return "an exported graph holds plain operations only"
    reason = transformed()
    if reason is not None:
        return reason
    for tensor in tensors:
        if tensor is None:
            continue
        if not _fits(tensor):
            return _misfit("a tensor", tensor)
        if tensor.numel() == 0:
            return "a tensor is empty"
    return None


def _fits(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype in _DTYPES


def _misfit(name: str, tensor: Tensor) -> str:
    if tensor.device.type != "cpu":
        return f"{name} is on {tensor.device}, expected cpu"
    return f"{name} is {tensor.dtype}, expected float32, bfloat16 or float16"


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


def needs_gradients(tensors: Iterable[Tensor | None]) -> bool:
    """Whether autograd records a call on these tensors.

    >>> needs_gradients([torch.zeros(2), None])
    False
    """
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
