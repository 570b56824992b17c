"""`unveil train`: train a network by a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unveil.errors import MissingExtraError

if TYPE_CHECKING:
    from rich.console import Console


def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe (YAML), or the folder of a run to resume.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="key=value: `out=FOLDER`, or a key of the recipe such as optim.lr=1e-4; "
            "`duration=` and `steps=` are short for schedule.duration and schedule.steps."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Delete an earlier run in the folder.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print recipe, size, memory and time, take two steps, keep nothing."
        ),
    ] = False,
    accelerator: Annotated[str, typer.Option(help="cpu, gpu or auto.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, max=1024, help="Processes per machine.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, max=65_536, help="Machines.")] = 1,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the recipes' JSON schema and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a network by a recipe.

    The folder `out` (default: runs/NAME) gets the averaged weights, the best ones in best/,
    checkpoints, logs and pictures. Stop with Ctrl-C or SIGTERM; go on with --resume.
    """
    from unveil.training import recipe_file

    if schema:
        typer.echo(recipe_file.recipe_schema())
        return
    if recipe is None:
        raise typer.BadParameter("name a recipe, or a run's folder to resume")
    out, overrides = _split(settings or [], recipe)
    resolved = recipe_file.load_recipe(_recipe_file(recipe), overrides)
    _require_extra()
    from rich.console import Console

    from unveil.training.devices import Devices, is_first_process
    from unveil.training.dry_run import dry_run as measure
    from unveil.training.run import train as run

    console = Console(stderr=True)
    _log_to(console)
    chosen = Devices(accelerator, devices, nodes)
    if dry_run:
        report = measure(resolved, devices=chosen)
        typer.echo(report.to_json() if as_json else report.to_text())
        return
    outcome = run(resolved, out, resume=resume, force=force, devices=chosen, console=console)
    if is_first_process():
        typer.echo(outcome.to_json() if as_json else outcome.describe(out))
    if not outcome.finished:
        raise typer.Exit(130 if outcome.signal == "SIGINT" else 143)


_SHORT = {"duration": "schedule.duration", "steps": "schedule.steps"}


def _split(settings: list[str], recipe: Path) -> tuple[Path, list[str]]:
    """Take `out=` from the settings; spell the short keys out."""
    out = recipe if recipe.is_dir() else Path("runs") / recipe.stem
    overrides = []
    for word in settings:
        key, _, value = word.partition("=")
        if key == "out":
            if not value:
                raise typer.BadParameter("out= is empty, as an unset variable is; name a folder")
            out = Path(value)
        else:
            _refuse_misspelt(key)
            overrides.append(f"{_SHORT[key]}={value}" if key in _SHORT else word)
    return out, overrides


def _refuse_misspelt(key: str) -> None:
    """Refuse what looks like a short key; a recipe has none."""
    from difflib import get_close_matches

    from unveil.errors import RecipeError

    near = get_close_matches(key, [*_SHORT, "out"], n=1, cutoff=0.75)
    if near and key not in _SHORT:
        raise RecipeError(f"unknown key {key!r}: did you mean {near[0]!r}?")


def _recipe_file(given: Path) -> Path:
    """Return the recipe that was named, itself or by the folder of its run."""
    from unveil.errors import RecipeError

    if not given.exists():
        raise RecipeError(f"{given}: no such file or folder; name a recipe or the folder of a run")
    if not given.is_dir():
        return given
    if not (given / "recipe.yaml").is_file():
        raise RecipeError(f"{given}: holds no recipe.yaml, so no training began here")
    return given / "recipe.yaml"


def _require_extra() -> None:
    from importlib.util import find_spec

    if find_spec("lightning_fabric") is None or find_spec("tensorboard") is None:
        raise MissingExtraError("unveil train", "train")


def _log_to(console: "Console") -> None:
    import logging

    from rich.logging import RichHandler

    logger = logging.getLogger("unveil")
    if not logger.handlers:
        logger.addHandler(RichHandler(console=console, show_path=False, show_level=False))
        logger.setLevel(logging.INFO)
