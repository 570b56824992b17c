"""A recipe small enough for tests, on a generated set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unveil.data import write_toy_set
from unveil.training.recipe import Recipe


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_toy_set(folder, count=4, test_count=2, size=64)
    return folder


@pytest.fixture(scope="session")
def toy_recipe(photos: Path) -> Callable[..., Recipe]:
    """Build the recipe with sections changed; None takes a key away."""

    def build(**sections: Any) -> Recipe:
        return _recipe(photos, sections)

    return build


def _recipe(photos: Path, sections: dict[str, Any]) -> Recipe:
    tree: dict[str, Any] = {
        "model": {"id": "cu_mamba_tiny"},
        "data": {"train": [{"clean": str(photos / "train"), "task": "noise"}], "workers": 0},
        "degradation": {"noise": [{"steps": "noise:sigma_255=0..55"}]},
        "optim": {"lr": 1e-3, "loss": "charbonnier + 0.1*fft", "clip": 1.0},
        "schedule": {
            "steps": 6,
            "warmup": 0.2,
            "phases": [
                {"until": 0.5, "patch": 16, "batch": 4},
                {"until": 1.0, "patch": 24, "batch": 2, "loss": "psnr"},
            ],
        },
        "evaluation": {
            "sets": [{"clean": str(photos / "test")}],
            "degradations": ["noise:sigma_255=25"],
            "every_steps": 4,
            "images": 2,
            "crop": 32,
        },
        "seed": 3,
    }
    for name, changes in sections.items():
        if isinstance(changes, dict):
            tree[name] = {**tree[name], **changes}
            tree[name] = {key: value for key, value in tree[name].items() if value is not None}
        else:
            tree[name] = changes
    return Recipe.model_validate(tree)
