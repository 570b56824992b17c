"""Lets a script with CUDA written into it run on the CPU: `python -m unveil.compat --cpu`.

Calls that name a CUDA device get the CPU in its place; functions of `torch.cuda` that need a device
do nothing, or answer for the CPU. Each kind of call is reported at its first use.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"cuda(:\d+)?$")
_CPU = torch.device("cpu")


@contextmanager
def cuda_on_cpu() -> Iterator[None]:
    """Run what names CUDA on the CPU instead, in this thread.

    `torch.cuda.is_available()` still tells the truth: scripts that look before they ask keep their
    own way.

    Example:
        >>> with cuda_on_cpu():
        ...     torch.zeros(2, device="cuda:0").cuda().device
        device(type='cpu')
    """
    reports = _Reports()
    with ExitStack() as stack:
        for name, value in _functions(reports).items():
            if hasattr(torch.cuda, name):
                stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch, "load", _loading(torch.load)))
        stack.enter_context(_Mapped(reports))
        yield


class _Reports:
    """Says each thing once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, what: str, value: str = "") -> None:
        if what not in self._said:
            self._said.add(what)
            _LOG.warning("on the CPU instead: %s%s", what, value)


class _Mapped(TorchFunctionMode):
    """Replaces CUDA devices among the arguments of PyTorch's functions."""

    def __init__(self, reports: _Reports) -> None:
        super().__init__()
        self._reports = reports

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if func is Tensor.cuda:
            self._reports.say(".cuda()")
            return args[0]
        if func is Tensor.pin_memory:
            self._reports.say(".pin_memory()")
            return args[0]
        if func is torch.device:
            return (
                self._mapped(func, args[0]) if args and _is_cuda(args[0]) else func(*args, **kwargs)
            )
        if func is Tensor.to and len(args) > 1 and type(args[1]) is int:
            args = (args[0], "cuda", *args[2:])
        if any(_is_cuda(value) for value in args):
            args = tuple(self._mapped(func, value) for value in args)
        device = kwargs.get("device")
        if type(device) is int:
            device = f"cuda:{device}"
        if _is_cuda(device):
            kwargs = kwargs | {"device": self._mapped(func, device)}
        return func(*args, **kwargs)

    def _mapped(self, func: Any, value: Any) -> Any:
        if not _is_cuda(value):
            return value
        name = getattr(func, "__name__", str(func))
        self._reports.say("Module.to" if name == "_parse_to" else name, f"(… {str(value)!r})")
        if isinstance(value, str) and value.startswith("torch.cuda."):
            return value.replace("torch.cuda.", "torch.")
        return _CPU


def _is_cuda(value: Any) -> bool:
    if type(value) is torch.device:
        return value.type == "cuda"
    return type(value) is str and (
        _NAME.match(value) is not None or value.startswith("torch.cuda.")
    )


class _Event:
    """Measures wall time, as CUDA events measure a stream's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        self.at = time.perf_counter()

    def record(self, *args: Any) -> None:
        del args
        self.at = time.perf_counter()

    def elapsed_time(self, end: "_Event") -> float:
        return 1000.0 * (end.at - self.at)

    def synchronize(self) -> None: ...

    wait = synchronize

    def query(self) -> bool:
        return True


class _Stream(nullcontext[None]):
    """A stream on which nothing waits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        super().__init__()

    def synchronize(self, *args: Any) -> None:
        del args

    wait_stream = wait_event = synchronize


def _functions(reports: _Reports) -> dict[str, Any]:
    """Return what takes the place of functions and types of `torch.cuda`."""
    answers: dict[str, Any] = {
        "synchronize": None,
        "set_device": None,
        "empty_cache": None,
        "ipc_collect": None,
        "reset_peak_memory_stats": None,
        "reset_max_memory_allocated": None,
        "current_device": 0,
        "memory_allocated": 0,
        "max_memory_allocated": 0,
        "memory_reserved": 0,
        "max_memory_reserved": 0,
        "get_device_name": "CPU",
    }
    contexts: dict[str, Callable[..., Any]] = {
        "device": lambda *_: nullcontext(),
        "device_of": lambda *_: nullcontext(),
        "stream": lambda *_: nullcontext(),
        "current_stream": _Stream,
        "default_stream": _Stream,
        "Stream": _Stream,
        "Event": _Event,
    }
    constant = {name: _constant(value) for name, value in answers.items()}
    types = {
        f"{kind}Tensor": getattr(torch, f"{kind}Tensor")
        for kind in ("Float", "Double", "Half", "BFloat16", "Byte", "Bool", "Short", "Int", "Long")
    }
    reported = {
        name: _reporting(reports, name, function)
        for name, function in (constant | contexts).items()
    }
    return reported | types


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def _reporting(reports: _Reports, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def reported(*args: Any, **kwargs: Any) -> Any:
        reports.say(f"torch.cuda.{name}")
        return function(*args, **kwargs)

    return reported


def _loading(load: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(load)
    def on_cpu(file: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        wanted = map_location if map_location is not None and not _is_cuda(map_location) else "cpu"
        return load(file, wanted, *args, **kwargs)

    return on_cpu
