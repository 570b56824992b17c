"""`unveil export`: networks as files for other programs."""

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from unveil.cli.shared_options import AsJson, TaskOption
from unveil.cli.wording import print_json

_SUFFIXES = (".onnx", ".dtmodel")


def export(
    model: Annotated[str, typer.Argument(help="Model id, weights file or folder.")],
    output: Annotated[Path, typer.Argument(help="OUT.onnx, or OUT.dtmodel for darktable.")],
    size: Annotated[
        str, typer.Option(help="dynamic, or the side of square images.", metavar="dynamic|N")
    ] = "dynamic",
    tiles: Annotated[
        bool,
        typer.Option(
            "--tiles",
            help="The network in parts, OUT.PART.onnx, for tiles that share what is decided by "
            "their whole image.",
        ),
    ] = False,
    task: TaskOption = "auto",
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a network as ONNX, or as a package for darktable; checked against the network first."""
    from unveil.errors import MissingExtraError
    from unveil.inference.options import TASKS

    side = _size(size)
    if task not in TASKS:
        raise typer.BadParameter(f"no task {task!r}; there are {', '.join(TASKS)}")
    if output.suffix not in _SUFFIXES:
        raise typer.BadParameter(f"expected a name that ends in {' or '.join(_SUFFIXES)}")
    if output.suffix == ".dtmodel" and (tiles or task != "auto" or side != "dynamic"):
        raise typer.BadParameter("a .dtmodel file takes no --size, --tiles or --task")
    try:
        from unveil.export import export_darktable, export_onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError("unveil export", "onnx") from error
    if output.suffix == ".dtmodel":
        made = export_darktable(model, output, force=force)
    else:
        chosen = cast("Any", task)
        made = export_onnx(model, output, size=side, tiles=tiles, task=chosen, force=force)
    if as_json:
        agreements = [vars(agreement) for agreement in made.agreements]
        files = [str(file) for file in made.files]
        print_json({"files": files, "agreements": agreements})
        return
    for agreement in made.agreements:
        typer.echo(str(agreement), err=True)
    for file in made.files:
        typer.echo(str(file))


def _size(text: str) -> int | Literal["dynamic"]:
    if text == "dynamic":
        return "dynamic"
    if not (text.isdecimal() and len(text) <= 6 and int(text) > 0):
        raise typer.BadParameter(
            f"expected dynamic or a number of pixels, got {text[:20]!r}", param_hint="--size"
        )
    return int(text)
