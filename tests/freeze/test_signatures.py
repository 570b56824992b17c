"""Public names keep their signatures, fields and defaults."""

import enum
import importlib
import inspect
from typing import Any

import pytest

MODULES = (
    "unveil",
    "unveil.compat",
    "unveil.data",
    "unveil.degradations",
    "unveil.errors",
    "unveil.evaluation",
    "unveil.imaging",
    "unveil.inference",
    "unveil.metrics",
    "unveil.models.registry",
    "unveil.ops",
    "unveil.training.recipe_file",
    "unveil.training.run",
)
# Modules without `__all__`, and what of them the documentation names.
NAMED = {
    "unveil.training.recipe_file": ["load_recipe", "parse_recipe", "dump_recipe", "recipe_schema"],
    "unveil.training.run": ["train"],
}


@pytest.mark.parametrize("module", MODULES)
def test_signatures_of_public_names(module, frozen):
    found = importlib.import_module(module)
    frozen(f"signatures/{module}", {name: describe(getattr(found, name)) for name in names(found)})


def names(module: Any) -> list[str]:
    if module.__name__ in NAMED:
        return NAMED[module.__name__]
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
    ]


def describe(value: Any) -> Any:
    if inspect.isclass(value) and issubclass(value, enum.Enum):
        return [member.name for member in value]
    if inspect.isclass(value):
        members = {"": signature(value)}
        for name, member in inspect.getmembers(value):
            if not name.startswith("_") and own(value, name):
                members[name] = signature(member) if callable(member) else type(member).__name__
        return members
    return signature(value) if callable(value) else type(value).__name__


def own(cls: type, name: str) -> bool:
    """Say whether a class of ours defines the name, rather than a library's base class."""
    return any(name in vars(base) for base in cls.__mro__ if base.__module__.startswith("unveil"))


def signature(value: Any) -> str:
    """Return names, kinds and defaults; annotations are left to mypy."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return "…"
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    shown = [p.replace(default=plain(p.default)) if p.default is not p.empty else p for p in bare]
    return str(inspect.Signature(shown))


class plain:  # noqa: N801 - shown as a default
    """A default value whose text holds no address."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        simple = isinstance(self.value, str | int | float | bool | tuple | type(None))
        return repr(self.value) if simple else type(self.value).__name__
