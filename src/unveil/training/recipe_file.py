"""Read a recipe: YAML, overrides from the command line, environment variables, clear errors."""

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from unveil.bounded import is_name_byte, read_text
from unveil.errors import RecipeError
from unveil.training.recipe import Recipe
from unveil.training.yaml_text import MOST_BYTES, parse_yaml

_VARIABLE = re.compile(r"\$\{(\w+)\}")
# An override may reach this deep, and a message quotes this much.
_MOST_PARTS, _QUOTED = 16, 80


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
        text = read_text(Path(path), MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"cannot read the recipe {str(path)!r}: {reason}") from error
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
        tree = parse_yaml(text)
    except ValueError as error:
        raise RecipeError(f"{name} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise RecipeError(
            f"{name} must hold sections (model, data, ...), not {type(tree).__name__}"
        )
    for word in overrides:
        _override(tree, word)
    unset: set[str] = set()
    expanded, problems = _expand(tree, unset), ""
    try:
        recipe = Recipe.model_validate(expanded)
    except ValidationError as error:
        problems = _explain(error, unset)
    if unset:
        variables = " and ".join(f"${{{variable}}}" for variable in sorted(unset))
        hint = f"the recipe uses {variables}: set this environment variable"
        problems = f"{problems}; {hint}" if problems else hint
    if problems:
        raise RecipeError(f"{name}: {problems}")
    return recipe


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
    if len(parents) >= _MOST_PARTS:
        raise RecipeError(f"cannot set {_quoted(key)}: no key of a recipe lies so deep")
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
        if any(map(is_name_byte, text)):  # part of a file's name, which YAML cannot hold
            return text
        return parse_yaml(text)
    except ValueError as error:
        problem = str(error).removeprefix("line 1: ")
        raise RecipeError(
            f"cannot read {_quoted(word)}: the value is not valid YAML ({problem}); "
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
    if not (part.isascii() and part.isdecimal() and len(part) < 7 and int(part) < len(node)):
        raise RecipeError(f"cannot set {key!r}: {part!r} is not a position in 0..{len(node) - 1}")
    return int(part)


def _expand(node: Any, unset: set[str]) -> Any:
    """Replace `${NAME}` by environment variables, everywhere; those that are not set stay.

    Args:
        node: Of the recipe's tree.
        unset: Gets the names of variables that are not set.
    """
    if isinstance(node, Mapping):
        return {key: _expand(value, unset) for key, value in node.items()}
    if isinstance(node, list):
        return [_expand(value, unset) for value in node]
    if not isinstance(node, str):
        return node
    unset.update(name for name in _VARIABLE.findall(node) if not os.environ.get(name))
    return _VARIABLE.sub(lambda match: os.environ.get(match[1]) or match[0], node)


_UNITS = {
    "evaluation.every": "as in 90m; a number of steps is every_steps",
    "schedule.duration": "as in 90m; a number of steps is steps",
    "schedule.save_every": "as in 90m",
    "data.cache": "as in 4GB",
    "optim.memory": "as in 4GB",
}


def _explain(error: ValidationError, unset: Iterable[str]) -> str:
    """Spell the first problems in one line; an unknown key names the nearest known one."""
    parts = []
    waiting = [f"${{{name}}}" for name in unset]
    # What waits for a variable is no problem of its own.
    found = (
        problem
        for problem in error.errors()
        if problem["type"] == "extra_forbidden"
        or not isinstance(problem["input"], str)
        or not any(variable in problem["input"] for variable in waiting)
    )
    for problem in islice(found, 3):
        where = ".".join(str(part)[:_QUOTED] for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            parts.append(f"unknown key {where!r}{_nearest(problem['loc'])}")
        elif problem["type"] == "string_type" and where in _UNITS:
            given = _quoted(problem["input"])
            parts.append(f"{where}: {given} lacks its unit, {_UNITS[where]}")
        elif problem["type"] == "missing":
            parts.append(f"{where!r} is missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            parts.append(f"{where}: {message}" if where else message)
    return "; ".join(parts)


def _quoted(value: Any) -> str:
    """Quote what was given, shortly."""
    text = repr(value if isinstance(value, str | int | float) else type(value).__name__)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"


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
