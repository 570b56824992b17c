"""The examples in docstrings are true."""

import doctest
import importlib
import inspect
import pkgutil
import re
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
_KERNELS = "triton_kernels"


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


# Rooms whose public functions describe their parameters.
_DESCRIBED = (
    "batch", "bench", "cli", "compat", "data", "degradations", "evaluation", "export", "imaging",
    "inference", "integrations", "layers", "metrics", "models", "ops", "serve", "training",
)  # fmt: skip


@pytest.mark.parametrize("room", _DESCRIBED)
def test_two_parameters_or_more_are_described(room: str) -> None:
    missing = []
    for name in _MODULES:
        if not name.startswith(f"unveil.{room}.") or "._" in name or name.endswith(_KERNELS):
            continue
        module = importlib.import_module(name)
        for where, function in _public_functions(module):
            names = [n for n in inspect.signature(function).parameters if n not in ("self", "cls")]
            if len(names) > 1 and not _describes(function, module) and not _is_verb(function):
                missing.append(f"{where}({', '.join(names)})")
    assert not missing


def _is_verb(function: Any) -> bool:
    """Return whether a function is a command, whose parameters carry their help."""
    return any(
        isinstance(note, ParameterInfo)
        for parameter in inspect.signature(function).parameters.values()
        for note in getattr(parameter.annotation, "__metadata__", ())
    )


def _describes(function: Any, module: Any, depth: int = 2) -> bool:
    """Whether a docstring has `Args`, or names a function of its module that has the same ones."""
    text = getattr(function, "__doc__", None) or ""
    if "Args:" in text or not depth:
        return "Args:" in text
    named = (getattr(module, name, None) for name in re.findall(r"`(\w+)`", text))
    return any(_describes(other, module, depth - 1) for other in named if inspect.isfunction(other))


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
