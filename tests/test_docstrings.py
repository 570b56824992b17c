"""The examples in docstrings are true."""

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from typer.models import ParameterInfo

import unveil
from unveil.errors import MissingExtraError

_MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(unveil.__path__, "unveil.")
    if not found.name.endswith("__main__")
)
# Kernels for GPUs: `triton` is no dependency on other machines.
_OPTIONAL = "triton"


@pytest.mark.parametrize("name", _MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except (ModuleNotFoundError, MissingExtraError) as error:
        if _OPTIONAL in name or _OPTIONAL in str(error):
            pytest.skip(str(error))
        raise
    names = {"np": np, "torch": torch}
    failed, _ = doctest.testmod(
        module, extraglobs=names, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert failed == 0


# Rooms whose public functions describe their parameters; the others follow.
_DESCRIBED = (
    "batch", "bench", "cli", "data", "evaluation", "inference", "layers", "metrics", "models",
    "training",
)  # fmt: skip


@pytest.mark.parametrize("room", _DESCRIBED)
def test_two_parameters_or_more_are_described(room: str) -> None:
    missing = []
    for name in _MODULES:
        if not name.startswith(f"unveil.{room}."):
            continue
        for where, function in _public_functions(importlib.import_module(name)):
            names = [n for n in inspect.signature(function).parameters if n not in ("self", "cls")]
            if (
                len(names) > 1
                and "Args:" not in (function.__doc__ or "")
                and not _is_verb(function)
            ):
                missing.append(f"{where}({', '.join(names)})")
    assert not missing


def _is_verb(function: Any) -> bool:
    """Return whether a function is a command, whose parameters carry their help."""
    return any(
        isinstance(note, ParameterInfo)
        for parameter in inspect.signature(function).parameters.values()
        for note in getattr(parameter.annotation, "__metadata__", ())
    )


def _public_functions(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield functions and methods of a module, but those whose base class describes them."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield f"{module.__name__}.{name}", value
        elif inspect.isclass(value):
            for method, function in vars(value).items():
                described = any(
                    "Args:" in (getattr(getattr(base, method, None), "__doc__", "") or "")
                    for base in value.__mro__[1:]
                )
                if inspect.isfunction(function) and method[0] != "_" and not described:
                    yield f"{module.__name__}.{name}.{method}", function
