"""Read a recipe: YAML, overrides from the command line, environment variables, clear errors."""

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from unveil.errors import RecipeError
from unveil.training.recipe import Recipe

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: `3e-4` is one; in YAML 1.1 it is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in pairs if tag != "tag:yaml.org,2002:float"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?$|^[-+]?\.(?:inf|nan)$"),
    list("-+0123456789."),
)


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read and validate a recipe.

    Args:
        path: A YAML file.
        overrides: Words `key=value`, keys dotted and list positions as numbers, e.g.
            `optim.lr=1e-4` or `schedule.phases.0.batch=8`; values are YAML.

    Raises:
        RecipeError: The file cannot be read, or a key or value is wrong; unknown keys come with the
            nearest known one.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {str(path)!r}: {error.strerror}") from error
    return parse_recipe(text, overrides, name=str(path))


def parse_recipe(text: str, overrides: Iterable[str] = (), *, name: str = "recipe") -> Recipe:
    """Validate a recipe's text.

    Args:
        text: YAML.
        overrides: As for `load_recipe`.
        name: Its name in error messages.

    Raises:
        RecipeError: A key or value is wrong.
    """
    try:
        tree = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise RecipeError(f"{name} is not valid YAML: {where}") from error
    if not isinstance(tree, dict):
        raise RecipeError(
            f"{name} must hold sections (model, data, ...), not {type(tree).__name__}"
        )
    for word in overrides:
        _override(tree, word)
    try:
        return Recipe.model_validate(_expand(tree))
    except ValidationError as error:
        raise RecipeError(f"{name}: {_explain(error)}") from error


def dump_recipe(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML, every default spelled out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def recipe_schema() -> str:
    """Return the recipe's JSON schema, by which editors check YAML.

    >>> "schedule" in recipe_schema()
    True
    """
    return json.dumps(Recipe.model_json_schema(), indent=2)


def _override(tree: dict[str, Any], word: str) -> None:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise RecipeError(f"cannot read {word!r}: write key=value, e.g. optim.lr=1e-4")
    *parents, leaf = key.split(".")
    node: Any = tree
    for part in parents:
        node = _child(node, part, key)
    if isinstance(node, list):
        node[_position(node, leaf, key)] = _value(word, value)
    elif isinstance(node, dict):
        # `steps` and `duration`, or the two kinds of interval, exclude each other: the last wins.
        for other in _EXCLUDES.get(key, ()):
            node.pop(other, None)
        node[leaf] = _value(word, value)
    else:
        raise RecipeError(f"cannot set {key!r}: {parents[-1]!r} is a value, not a section")


def _value(word: str, text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise RecipeError(
            f"cannot read {word!r}: the value is not valid YAML ({problem}); "
            "quote what starts with a special sign, e.g. 'data.train.0.include=\"*.png\"'"
        ) from error


_EXCLUDES = {
    "schedule.steps": ("duration",),
    "schedule.duration": ("steps",),
    "evaluation.every": ("every_steps",),
    "evaluation.every_steps": ("every",),
}


def _child(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, part, key)]
    if isinstance(node, dict):
        if node.get(part) is None:
            node[part] = {}
        return node[part]
    raise RecipeError(f"cannot set {key!r}: {part!r} lies below a value")


def _position(node: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise RecipeError(f"cannot set {key!r}: {part!r} is not a position in 0..{len(node) - 1}")
    return int(part)


def _expand(node: Any) -> Any:
    """Replace `${NAME}` by environment variables, everywhere."""
    if isinstance(node, Mapping):
        return {key: _expand(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_expand(value) for value in node]
    return _VARIABLE.sub(_variable, node) if isinstance(node, str) else node


def _variable(match: re.Match[str]) -> str:
    value = os.environ.get(match[1])
    if not value:
        raise RecipeError(f"the recipe uses ${{{match[1]}}}: set this environment variable")
    return value


_UNITS = {
    "evaluation.every": "as in 90m; a number of steps is every_steps",
    "schedule.duration": "as in 90m; a number of steps is steps",
    "schedule.save_every": "as in 90m",
    "data.cache": "as in 4GB",
    "optim.memory": "as in 4GB",
}


def _explain(error: ValidationError) -> str:
    """Spell the first problems in one line; an unknown key names the nearest known one."""
    parts = []
    for problem in error.errors()[:3]:
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            parts.append(f"unknown key {where!r}{_nearest(problem['loc'])}")
        elif problem["type"] == "string_type" and where in _UNITS:
            parts.append(f"{where}: {problem['input']!r} lacks its unit, {_UNITS[where]}")
        elif problem["type"] == "missing":
            parts.append(f"{where!r} is missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            parts.append(f"{where}: {message}" if where else message)
    return "; ".join(parts)


def _nearest(location: tuple[int | str, ...]) -> str:
    """Suggest the key of the enclosing section that looks most like the last part."""
    known = list(_fields_at(location[:-1]))
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f": {guess}known are {', '.join(known)}"


def _fields_at(location: tuple[int | str, ...]) -> Iterable[str]:
    section: type[BaseModel] = Recipe
    for part in location:
        field = section.model_fields.get(str(part))
        inner = _section_in(field.annotation) if field else None
        section = inner or section
    return section.model_fields


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """Find the section a field holds, alone or in a list or mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _section_in(argument)
        if found is not None:
            return found
    return None
