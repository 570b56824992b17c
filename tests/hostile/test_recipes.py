"""Recipes that are damaged or lie, through the command; none gets as far as training."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.hostile.conftest import Run, cases
from tests.hostile.values import hostile_tree, hostile_value, json_text
from tests.imaging.test_fuzz import mutated

# The folder of photographs is missing, so that a recipe that is valid all the same ends there.
_RECIPE: dict[str, Any] = {
    "model": {"id": "cu_mamba_tiny", "options": {"d_state": 4}},
    "data": {"train": [{"clean": "missing", "task": "noise"}, {"pairs": "gone"}], "cache": "1MB"},
    "degradation": {"noise": [{"steps": "noise:sigma_255=0..55", "share": 2}]},
    "optim": {"lr": 1e-3, "loss": "charbonnier + 0.1*fft", "betas": [0.9, 0.99]},
    "schedule": {"steps": 6, "phases": [{"until": 1.0, "patch": 16, "batch": 4}]},
    "evaluation": {
        "sets": [{"clean": "missing"}], "degradations": ["noise:sigma_255=25"], "every": "5m",
    },
}  # fmt: skip
_KEYS = ["optim.lr", "optim.loss", "schedule.phases.0.batch", "schedule.phases.9.batch", "seed",
         "model.id", "model.weights", "data.train.0.clean", "data.train.²", "a.b.c", "", ".", "out",
         "degradation.noise.0.steps", "evaluation.every", "schedule.duration"]  # fmt: skip
_PIECES = ["&a [*a]", "a: &a {b: *a}", "<<: *a", "!!python/object:os.system {}", "2024-13-45",
           "!!binary '='", "1:99:99", "? [a]\n: b", "---\n---\n", "\t", "%TAG ! x", "${NONE}",
           "${PATH}", "'\\udce9'", '"\\0"', "\x85", "*missing", "- - - - -", "9" * 5000,
           "~nobody", "[" * 300, "{a: " * 300, "#" * 9000, "0x" + "f" * 3000]  # fmt: skip


def _doubling() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 12)]
    return "\n".join(lines)


def _text(rng: np.random.Generator) -> bytes:
    plain = yaml.safe_dump(_RECIPE)
    match rng.integers(0, 5):
        case 0:
            return mutated(plain.encode(), rng)
        case 1:
            at = int(rng.integers(len(plain)))
            return (plain[:at] + str(rng.choice(_PIECES)) + plain[at:]).encode("utf-8", "replace")
        case 2:
            return (plain + "\n" + _doubling() + "\n").encode()
        case _:
            # JSON is YAML.
            return json_text(hostile_tree(_RECIPE, rng)).encode("utf-8", "surrogatepass")


def _attack(run: Run, photo: Path, number: int) -> None:
    rng = np.random.default_rng(13)
    path = photo.with_name("recipe.yaml")
    for case in range(number):
        words = ["train", path.name, "--dry-run"]
        if rng.random() < 0.02:
            os.mkfifo(path)
        else:
            path.write_bytes(_text(rng) if rng.random() < 0.7 else yaml.safe_dump(_RECIPE).encode())
            for _ in range(int(rng.integers(0, 3))):
                value = hostile_value(rng) if rng.random() < 0.5 else str(rng.choice(_PIECES))
                word = f"{rng.choice(_KEYS)}={value}"[:10_000].replace("\0", "")
                words.append(word)
        run(*words, case=case)


def test_some_hostile_recipes(run: Run, photo: Path, request: pytest.FixtureRequest) -> None:
    _attack(run, photo, cases(request, 25, 25))


@pytest.mark.slow
def test_many_hostile_recipes(run: Run, photo: Path, request: pytest.FixtureRequest) -> None:
    _attack(run, photo, cases(request, 25, 500))
