"""What a network calls of the stand-in: names, options and shapes, as data.

A call is `{"name": "module.function", "args": […], "kwargs": {…}}`, for a module with
`"made": {…}`, its constructor's arguments. A tensor is `["tensor", shape, dtype]`; numbers,
strings, booleans and None are themselves.
"""

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from unveil.compat.inventory import MODULES


def record_calls() -> Callable[[], list[dict[str, Any]]]:
    """Watch what the stand-in provides, before a network imports it; return what gives the calls.

    Of calls with the same name and the same options only the first is kept.
    """
    calls: dict[str, dict[str, Any]] = {}

    def note(name: str, args: Any, kwargs: Any, made: Any = None) -> None:
        call = {"name": name, "args": _described(args), "kwargs": _described(kwargs)}
        if made is not None:
            call["made"] = _described(made)
        options = [kind(value) for value in call["args"]], sorted(call["kwargs"])
        calls.setdefault(f"{name} {options} {call.get('made')}", call)

    for module_name, names in MODULES.items():
        try:
            module = importlib.import_module(module_name)
        except ImportError:  # a fork that has no such module
            continue
        if module.__spec__ is None or module.__spec__.origin != "unveil.compat":
            continue
        for name in names:
            value, full = getattr(module, name), f"{module_name}.{name}"
            if inspect.isfunction(value):
                setattr(module, name, _noted(value, full, note))
            elif inspect.isclass(value) and issubclass(value, nn.Module):
                _watch(value, full, note)
    return lambda: list(calls.values())


def kind(value: Any) -> Any:
    """Return what of an argument makes another call of it: not a tensor's shape."""
    return value[0] if isinstance(value, list) else value


def _described(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _describe(value) for key, value in sorted(values.items())}
    return [_describe(value) for value in values]


def _describe(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return ["tensor", list(value.shape), str(value.dtype).removeprefix("torch.")]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return ["other", type(value).__name__]


def _noted(function: Callable[..., Any], name: str, note: Callable[..., None]) -> Any:
    @functools.wraps(function)
    def noted(*args: Any, **kwargs: Any) -> Any:
        note(name, args, kwargs)
        return function(*args, **kwargs)

    return noted


def _watch(module: Any, name: str, note: Callable[..., None]) -> None:
    """Note how a module is made and called; once for each class."""
    if "watched" in vars(module):
        return
    module.watched = True
    make, forward = module.__init__, module.forward

    @functools.wraps(make)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        if type(self) is module:
            names = list(inspect.signature(make).parameters)[1:]
            self.__dict__["made"] = dict(zip(names, args, strict=False)) | kwargs

    @functools.wraps(forward)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "made" in self.__dict__:
            note(name, args, kwargs, self.made)
        return forward(self, *args, **kwargs)

    module.__init__, module.forward = init, call
