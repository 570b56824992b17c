"""A run's folder: checked before training, and never emptied of what is somebody else's."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from unveil.errors import OutputError, RecipeError
from unveil.training.checkpoints import LAST, PREVIOUS, State
from unveil.training.recipe import Recipe
from unveil.training.recipe_file import dump_recipe, parse_recipe

RECIPE = "recipe.yaml"
CHECKPOINTS = "checkpoints"
PICTURES = "pictures"
BEST = "best"

# Says that a folder is a run's: files of the same names may be somebody's own.
_MARK = f"{CHECKPOINTS}/.run"
# What a run leaves, and what a new one in its place deletes.
_RESULTS = {
    ".": (
        "train.csv",
        "validation.csv",
        "nonfinite*.json",
        "model.safetensors",
        "config.json",
        RECIPE,
    ),
    CHECKPOINTS: (LAST, PREVIOUS, ".*.part"),
    PICTURES: ("step_*.png", ".*.part"),
    BEST: ("model.safetensors", "config.json", ".*.partial"),
    "tensorboard": ("events.out.tfevents.*",),
}
# Weights, their average and AdamW's two averages, in three checkpoints at worst; and two exports.
_COPIES = 14
_LOGS_BYTES = 50_000_000
# What may change when a run goes on: nothing that decides its weights.
_FREE = {"evaluation", "data.workers", "data.cache", "schedule.save_every"}


def check_folder(out: Path, *, resume: bool, force: bool) -> None:
    """See that a run may write into a folder; nothing is made or deleted.

    Args:
        out: The folder, which need not be there yet.
        resume: Whether an earlier run's results are continued.
        force: Whether an earlier run's results may be deleted.

    Raises:
        OutputError: It holds a run already, or something that is none, or cannot be written.
    """
    checkpointed = any((out / CHECKPOINTS / name).exists() for name in (LAST, PREVIOUS))
    if checkpointed and not resume and not force:
        raise OutputError(f"{out} holds a training already: add --resume, --force, or another out=")
    begun = (out / _MARK).exists()
    foreign = _foreign(out) or ([] if begun else _present(out))
    if foreign and not resume:
        raise OutputError(f"{foreign[0]} is not of a training: choose another out=")
    try:
        with tempfile.TemporaryFile(dir=_nearest(out)) as probe:
            probe.write(b"x" * 4096)
    except OSError as error:
        raise OutputError(f"cannot write into {out}: {error.strerror or error}") from error


def check_outside(out: Path, data: Iterable[Path]) -> None:
    """See that a run's pictures do not become photographs of a set.

    Raises:
        OutputError: The folder is, or lies in, one of the folders `data`.
    """
    for folder in data:
        if out.resolve().is_relative_to(folder.resolve()):
            raise OutputError(f"{out} lies in {folder}, whose images it takes: choose another out=")


def prepare_folder(out: Path, *, keep: bool = False) -> None:
    """Make the folders of a run; an earlier run's results are deleted unless they are to `keep`.

    Args:
        out: A folder that passed `check_folder`.
        keep: Whether an earlier run goes on.

    Raises:
        OutputError: A folder cannot be made or emptied.
    """
    try:
        for name in (CHECKPOINTS, PICTURES, BEST):
            (out / name).mkdir(parents=True, exist_ok=True)
        # First: whatever stops the clearing, the folder stays known.
        (out / _MARK).touch()
        for path in () if keep else _present(out):
            path.unlink()
    except OSError as error:
        raise OutputError(f"cannot write into {out}: {error.strerror or error}") from error


def _nearest(out: Path) -> Path:
    """Return `out`, or where it will be made: the nearest folder above it that is there."""
    return next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())


def _present(out: Path) -> list[Path]:
    """List what looks like a run's results."""
    found = [
        path
        for name, patterns in _RESULTS.items()
        for pattern in patterns
        for path in (out / name).glob(pattern)
    ]
    return [path for path in found if path.is_file()]


def _foreign(out: Path) -> list[Path]:
    """List what stands in a run's folders and is none of its results."""
    ours = set(_present(out))
    found: list[Path] = []
    for name in _RESULTS:
        folder = out / name
        if folder.is_dir() and name != ".":
            # Hidden files, a file manager's or our mark, are in nobody's way.
            visible = (path for path in sorted(folder.iterdir()) if path.name[0] != ".")
            found += [path for path in visible if path not in ours]
        elif folder.exists() and not folder.is_dir():
            found.append(folder)
    return found


def check_space(out: Path, weights_bytes: int) -> None:
    """See that checkpoints and exports will fit.

    Args:
        out: The run's folder, which need not be there yet.
        weights_bytes: Size of the network's weights.

    Raises:
        OutputError: They will not.
    """
    needed = _COPIES * weights_bytes + _LOGS_BYTES
    free = shutil.disk_usage(_nearest(out)).free
    if free < needed:
        raise OutputError(
            f"{out} has {free / 1e6:.0f} MB free, the run needs about {needed / 1e6:.0f} MB: "
            "make room or choose another out="
        )


def write_recipe(recipe: Recipe, out: Path) -> None:
    """Write the resolved recipe beside the results."""
    temporary = out / f".{RECIPE}.part"
    try:
        temporary.write_text(dump_recipe(recipe), encoding="utf-8")
        temporary.replace(out / RECIPE)
    except OSError as error:
        raise OutputError(f"cannot write into {out}: {error.strerror or error}") from error


def stored_recipe(state: State) -> Recipe:
    """Return the recipe of a stored run; keys it does not know have their defaults."""
    return parse_recipe(state.recipe, name="the checkpoint's recipe")


def check_same(recipe: Recipe, stored: Recipe) -> None:
    """See that a resumed recipe trains what the stored one trained.

    Raises:
        RecipeError: A key that decides the weights differs.
    """
    now, before = flatten(recipe.model_dump(mode="json")), flatten(stored.model_dump(mode="json"))
    changed = [
        key
        for key in sorted(now.keys() | before.keys())
        if now.get(key) != before.get(key) and not _is_free(key)
    ]
    if changed:
        key = changed[0]
        raise RecipeError(
            f"cannot resume with {key} = {now.get(key)!r}: the run has {before.get(key)!r}; keep "
            "the recipe, or start another run from the weights with model.weights="
        )


def same_validation(recipe: Recipe, other: Recipe) -> bool:
    """Say whether two recipes validate on the same photographs, in the same way."""
    when = {"every", "every_steps"}
    one, two = (r.evaluation.model_dump(mode="json", exclude=when) for r in (recipe, other))
    return one == two


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in _FREE)


def flatten(tree: object, prefix: str = "") -> dict[str, object]:
    """Spell a tree of dicts and lists as dotted keys.

    >>> flatten({"a": {"b": [1, 2]}})
    {'a.b.0': 1, 'a.b.1': 2}
    """
    if isinstance(tree, dict):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list):
        items = [(str(position), value) for position, value in enumerate(tree)]
    else:
        return {prefix: tree}
    result: dict[str, object] = {}
    for key, value in items:
        result.update(flatten(value, f"{prefix}.{key}" if prefix else key))
    return result
