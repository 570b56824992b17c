"""Every shipped recipe is valid, and takes two steps on sets laid out as it expects."""

from pathlib import Path

import pytest
import yaml

from unveil.data import list_images, match_pairs, toy, write_toy_set
from unveil.training.devices import Devices
from unveil.training.recipe import Recipe
from unveil.training.recipe_file import load_recipe
from unveil.training.run import train

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml"))
# Folder names of degraded and clean photographs in the sets of that name; input/target elsewhere.
PARTS = {"GoPro": ("blur", "sharp"), "Derain": ("rainy", "gt"), "Dehaze": ("synthetic", "original")}
# Held back by `experiments/score_model.py`, too.
CAMERA_TEST_SCENES = {"printer", "comproom", "GO", "wall", "plant", "photo", "door", "waterhouse"}
# What makes two steps quick: the smallest patch that any of the networks is meant for.
QUICK = [
    "schedule.steps=2",
    "schedule.warmup=0",
    "schedule.phases=[{until: 0.5, patch: 32, batch: 2}, {until: 1, patch: 32, batch: 1}]",
    "schedule.phases.1.loss=psnr",
    "evaluation.every_steps=2",
    "evaluation.images=1",
    "evaluation.crop=32",
    "data.workers=0",
    "model.weights=null",
]


def lay_out(recipe: Recipe, pictures: Path) -> None:
    """Put toy pictures where the recipe looks for photographs."""
    for source in (*recipe.data.train, *recipe.evaluation.sets):
        if source.generated is not None:
            continue
        patterns = [source.include] if isinstance(source.include, str) else source.include or [""]
        prefix = patterns[0].replace("*", "_").lstrip("_")
        if source.clean is not None:
            link(source.clean, pictures, prefix)
        else:
            assert source.pairs is not None
            names = next((PARTS[p] for p in PARTS if p in source.pairs.parts), ("input", "target"))
            for name in names:
                link(source.pairs / name, pictures, prefix)


def link(folder: Path, pictures: Path, prefix: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(sorted(pictures.iterdir())):
        target = folder / f"{prefix}{number}{picture.suffix}"
        if not target.exists():
            target.symlink_to(picture)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    write_toy_set(folder, count=2, test_count=2, size=64)
    return folder / "train"


def test_all_recipes_the_documentation_names_are_there():
    assert RECIPES == [
        "cu_mamba/deblur.yaml",
        "cu_mamba/deblur_small.yaml",
        "cu_mamba/dehaze_small.yaml",
        "cu_mamba/denoise.yaml",
        "cu_mamba/denoise_small.yaml",
        "finetune.yaml",
        "mtair/three_tasks.yaml",
        "mtair/three_tasks_small.yaml",
    ]


BASE = {"cu_mamba/deblur.yaml", "cu_mamba/denoise.yaml", "mtair/three_tasks.yaml"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in BASE else n for n in RECIPES],
)
def test_a_recipe_takes_two_steps(name, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("UNVEIL_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(FOLDER / name, QUICK)
    lay_out(recipe, pictures)
    outcome = train(recipe, tmp_path / "run", devices=Devices(accelerator="cpu"))
    assert outcome.finished
    assert outcome.step == 2


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_is_from_the_paper_and_what_is_chosen(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    head = text.split("\nmodel:")[0]
    assert "chosen" in head.lower()
    if "finetune" not in name:
        assert "section" in head
        assert "arXiv" in head


def test_scenes_that_test_camera_noise_are_not_trained_on(unveil_data):
    """The README of the set: several crops share a scene."""
    recipe = load_recipe(FOLDER / "mtair" / "three_tasks_small.yaml")
    scenes = set()
    for source in recipe.data.train:
        if source.pairs == unveil_data / "noise_polyu":
            trained = match_pairs(source.pairs, include=source.include, exclude=source.exclude)
            scenes |= {pair.degraded.name.split("_")[4] for pair in trained.pairs if pair.degraded}
    assert {"chair", "toy", "stair"} <= scenes
    assert not scenes & CAMERA_TEST_SCENES
    every = {path.name.split("_")[4] for path in list_images(unveil_data / "noise_polyu" / "input")}
    assert every == scenes | CAMERA_TEST_SCENES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_as_written_is_valid(name, monkeypatch):
    monkeypatch.setenv("UNVEIL_DATA", "/sets")
    recipe = load_recipe(FOLDER / name)
    tree = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    assert recipe.model.id == tree["model"]["id"]
    assert {source.task for source in recipe.data.train if source.clean} <= set(recipe.degradation)
    if name not in BASE:
        # The README trains one of these on the pictures that `unveil data toy` draws.
        assert max(phase.patch for phase in recipe.schedule.phases) <= toy.SIZE
