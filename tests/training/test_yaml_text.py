"""YAML of recipes is bounded before anything is built from it."""

import time

import pytest

from unveil.training.yaml_text import parse_yaml


def test_numbers_text_and_aliases_are_read() -> None:
    text = "a: &x {lr: 3e-4, n: 1_000}\nb: [*x, 2024-13-45, 1:30, .5, -0, yes, null, '1']"
    x = {"lr": 3e-4, "n": 1000}
    assert parse_yaml(text) == {"a": x, "b": [x, "2024-13-45", "1:30", 0.5, 0, True, None, "1"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: " + "[" * 5000 + "]" * 5000, "nested more than 32 deep"),
        ("\n".join(" " * i + "a:" for i in range(300)), "nested more than 32 deep"),
        ("&a [*a]", "an alias to what it stands in"),
        ("a: &a {b: {c: *a}}", "an alias to what it stands in"),
        ("a: &a {<<: *a}", "an alias to what it stands in"),
        ("a: *missing", "undefined alias"),
        ("a: !!python/object:os.system {}", "recipes have none"),
        ("a: !!timestamp x", "recipes have none"),
        ("a: !!int x", "recipes have none"),
        ("a: [1", "line 1"),
        ("a: b: c", "mapping values"),
        ("a: \x00", "special characters"),
        ("a" * 200_000, "larger than 128 KiB"),
        ("[" + "1," * 30_000 + "]", "more than 20,000 values"),
        ("? [1, 2]\n: 3", "unhashable"),
        ("%YAML 9.0\n---\na: 1", "version"),
    ],
)
def test_what_is_out_of_bounds_is_a_value_error_at_once(text: str, said: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match=said) as refused:
        parse_yaml(text)
    assert "\n" not in str(refused.value)
    assert time.process_time() - start < 2


def test_aliases_that_multiply_are_counted_and_not_expanded() -> None:
    levels = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(ValueError, match="stands for more than 20,000 values"):
        parse_yaml("\n".join(levels))


def test_numbers_of_thousands_of_digits_stay_text() -> None:
    assert parse_yaml("a: " + "9" * 5000) == {"a": "9" * 5000}
