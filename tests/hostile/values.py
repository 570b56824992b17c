"""Values that no field expects, and trees in which one stands."""

import copy
import json
from typing import Any

import numpy as np

_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 7, 10**9, 10**30, -(10**30), 2**63, 0.5, 1e300, -1e300,
    float("nan"), float("inf"), "", "a", "é\x00", "\udce9", "a" * 3000, "9" * 5000, "../..",
    [], [[]], [None] * 50, ["a"] * 2000, {}, {"a": {"b": []}}, {"": ""}, {"width": 10**9},
    [{"width": 16, "encoder": 10**6, "decoder": 0}], [1] * 5000,
]  # fmt: skip
_TEXTS = ["[" * 5000, '{"a":' * 3000, "9" * 10_000, "{", "", "null", "NaN", '"' * 9]


def hostile_value(rng: np.random.Generator) -> Any:
    """Draw a value."""
    value = copy.deepcopy(_VALUES[int(rng.integers(len(_VALUES)))])
    if rng.random() < 0.05:
        for _ in range(int(rng.integers(40, 400))):
            value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def hostile_tree(tree: Any, rng: np.random.Generator) -> Any:
    """Return a copy of a JSON tree with one to three values changed; now and then a text instead.

    Args:
        tree: Dictionaries and lists.
        rng: Source of randomness.
    """
    if rng.random() < 0.08:
        return str(rng.choice(_TEXTS))
    tree = copy.deepcopy(tree)
    for _ in range(int(rng.integers(1, 4))):
        node: Any = tree
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = keys[int(rng.integers(len(keys)))]
            if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.75:
                node = node[key]
                continue
            _change(node, key, rng)
            break
    return tree


def _change(node: Any, key: Any, rng: np.random.Generator) -> None:
    match rng.integers(0, 6):
        case 0:
            del node[key]
        case 1 if isinstance(node, dict):
            node[str(hostile_value(rng))[:200]] = node[key]
        case 2 if isinstance(node, list):
            node.extend(node * int(rng.integers(1, 30)))
        case _:
            node[key] = hostile_value(rng)


def json_text(tree: Any) -> str:
    """Return a tree as JSON; a text stays one."""
    return tree if isinstance(tree, str) else json.dumps(tree)
