"""YAML of recipes, bounded before anything is built from it.

A text of a kilobyte can name itself, or stand for billions of values by aliases of aliases; YAML's
dates, tags and sexagesimal numbers have no place in a recipe.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

MOST_BYTES = 128 * 2**10
_MOST_DEPTH = 32
_MOST_NODES = 20_000


class _Loader(yaml.SafeLoader):
    """YAML whose `3e-4` is a number, as everywhere else, and whose dates are text."""


_RESOLVED_BY_US = {f"tag:yaml.org,2002:{name}" for name in ("float", "int", "timestamp")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in pairs if tag not in _RESOLVED_BY_US]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?$|^[-+]?\.(?:inf|nan)$"),
    list("-+0123456789."),
)
# Longer ones stay text, which no field of a recipe takes for a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]{0,29})$"), list("-+0123456789")
)


def parse_yaml(text: str) -> Any:
    """Parse YAML whose size, depth and aliases are bounded.

    Args:
        text: Up to `MOST_BYTES` long.

    Raises:
        ValueError: It is beyond the bounds, has tags, or is not YAML.

    >>> parse_yaml("lr: 3e-4")
    {'lr': 0.0003}
    >>> parse_yaml("&a [*a]")
    Traceback (most recent call last):
    ValueError: line 1: an alias to what it stands in
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES // 1024} KiB")
    try:
        _check(text)
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}: " if mark else ""
        said = " ".join(str(error.problem or error.context).split())
        raise ValueError(f"{place}{said}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


@dataclass
class _Count:
    """Nodes seen, aliases expanded; `anchors` holds the nodes below each that is complete."""

    nodes: int = 0
    anchors: dict[str | None, int | None] = field(default_factory=dict)


def _check(text: str) -> None:
    """Count what the text would become, event by event.

    Raises:
        ValueError: It would be too much.
    """
    count = _Count()
    # Of each open collection: its anchor, and the nodes before it.
    opened: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, _Loader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            below = count.anchors.get(event.anchor, 1)
            if below is None:
                raise ValueError(f"line {line}: an alias to what it stands in")
            count.nodes += below
        elif isinstance(event, yaml.ScalarEvent):
            _refuse_tag(event, line)
            count.nodes += 1
            count.anchors[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            _refuse_tag(event, line)
            opened.append((event.anchor, count.nodes))
            count.nodes += 1
            count.anchors[event.anchor] = None
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            count.anchors[anchor] = count.nodes - before
        if len(opened) > _MOST_DEPTH:
            raise ValueError(f"line {line}: nested more than {_MOST_DEPTH} deep")
        if count.nodes > _MOST_NODES:
            raise ValueError(f"line {line}: stands for more than {_MOST_NODES:,} values")


def _refuse_tag(event: Any, line: int) -> None:
    if event.tag is not None:
        raise ValueError(f"line {line}: the tag {event.tag[:80]}; recipes have none")
