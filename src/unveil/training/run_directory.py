"""The directory of a run: checked before training; files of others in it are never deleted."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from unveil.errors import OutputError
from unveil.imaging.atomic import write_text
from unveil.training.checkpoints import LAST, PREVIOUS
from unveil.training.recipe import Recipe
from unveil.training.recipe_file import dump_recipe

RECIPE = "recipe.yaml"
CHECKPOINTS = "checkpoints"
PICTURES = "pictures"
BEST = "best"
# Names the files of a batch whose loss was not finite.
BAD_BATCH = "nonfinite.json"

# Marks a directory as a run's; without it, files of the same names may be somebody's own.
_MARK = f"{CHECKPOINTS}/.run"
# The files of a run: a new run in its place deletes them.
_RESULTS = {
    ".": (
        "train.csv",
        "validation.csv",
        "nonfinite*.json",
        "model.safetensors",
        "config.json",
        RECIPE,
        ".*-????????????.part",
    ),
    CHECKPOINTS: (LAST, PREVIOUS, ".*.part"),
    PICTURES: ("step_*.png", ".*.part"),
    BEST: ("model.safetensors", "config.json", ".*.part*"),
    "tensorboard": ("events.out.tfevents.*",),
}
# Weights, their EMA and AdamW's two moments, in three checkpoints at worst; and two exports.
_COPIES = 14
_LOGS_BYTES = 50_000_000


def check_directory(out: Path, *, resume: bool, force: bool) -> None:
    """Check that a run may write into a directory; nothing is created or deleted.

    Args:
        out: The directory, which need not exist yet.
        resume: Whether an earlier run's results are continued.
        force: Whether an earlier run's results may be deleted.

    Raises:
        OutputError: It holds a run already, or files of others, or cannot be written.
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
    """Check that a run's pictures cannot become images of a data set.

    Args:
        out: The directory of the run.
        data: Folders of images.

    Raises:
        OutputError: The directory is, or lies in, one of the folders `data`.
    """
    for folder in data:
        if out.resolve().is_relative_to(folder.resolve()):
            raise OutputError(f"{out} lies in {folder}, whose images it takes: choose another out=")


def prepare_directory(out: Path, *, keep: bool = False) -> None:
    """Create the folders of a run, and delete an earlier run's files.

    Args:
        out: A directory that passed `check_directory`.
        keep: Whether an earlier run goes on, so that nothing is deleted.

    Raises:
        OutputError: A folder cannot be made or emptied.
    """
    try:
        for name in (CHECKPOINTS, PICTURES, BEST):
            (out / name).mkdir(parents=True, exist_ok=True)
        # First, so that a clearing cut short leaves a directory that is still marked.
        (out / _MARK).touch()
        for path in () if keep else _present(out):
            path.unlink()
    except OSError as error:
        raise OutputError(f"cannot write into {out}: {error.strerror or error}") from error


def _nearest(out: Path) -> Path:
    """Return `out`, or the nearest existing folder above it."""
    return next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())


def _present(out: Path) -> list[Path]:
    """List the files that are named as a run's."""
    found = [
        path
        for name, patterns in _RESULTS.items()
        for pattern in patterns
        for path in (out / name).glob(pattern)
    ]
    return [path for path in found if path.is_file()]


def _foreign(out: Path) -> list[Path]:
    """List files in a run's folders that are not named as a run's."""
    ours = set(_present(out))
    found: list[Path] = []
    for name in _RESULTS:
        folder = out / name
        if folder.is_dir() and name != ".":
            # Hidden files, a file manager's or our mark, do no harm.
            visible = (path for path in sorted(folder.iterdir()) if path.name[0] != ".")
            found += [path for path in visible if path not in ours]
        elif folder.exists() and not folder.is_dir():
            found.append(folder)
    return found


def check_space(out: Path, weights_bytes: int) -> None:
    """Check that checkpoints and exports will fit on the disk.

    Args:
        out: The directory of the run, which need not exist yet.
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
    """Write the resolved recipe beside the results.

    Args:
        recipe: The resolved recipe.
        out: The directory of the run.

    Raises:
        OutputError: It cannot be written.
    """
    write_text(out / RECIPE, dump_recipe(recipe))
