"""Assemble the verbs into the `unveil` command and turn errors into one line."""

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from unveil._version import __version__
from unveil.errors import UnveilError

# Verb → module, which holds a function named after the verb, or a typer app `app` with sub-verbs.
# Only the module of the verb that runs is imported.
_VERBS = {
    "bench": "unveil.cli.bench",
    "compare": "unveil.cli.compare",
    "data": "unveil.cli.data",
    "degrade": "unveil.cli.degrade",
    "doctor": "unveil.cli.doctor",
    "evaluate": "unveil.cli.evaluate",
    "inspect": "unveil.cli.inspect",
    "models": "unveil.cli.models",
    "restore": "unveil.cli.restore",
    "serve": "unveil.cli.serve",
    "train": "unveil.cli.train",
}


class _LazyGroup(TyperGroup):
    """A command group that imports a verb's module only when the verb is used."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return sorted(_VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in _VERBS:
            return None
        module = import_module(_VERBS[cmd_name])
        if hasattr(module, "app"):
            group = typer.main.get_command(module.app)
            group.name = cmd_name
            return group
        single = typer.Typer(add_completion=False)
        single.command(name=cmd_name)(getattr(module, cmd_name))
        return typer.main.get_command(single)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unveil {__version__}")
        raise typer.Exit


_app = typer.Typer(cls=_LazyGroup, no_args_is_help=True, add_completion=False)


@_app.callback()
def _root(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Remove noise, rain and haze from photographs, and train the networks that do it."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words after the program's name; `sys.argv[1:]` when None.

    Raises:
        SystemExit: Always: 0 for success, 1 for failure, 2 for wrong usage, 130 when cancelled.
    """
    words = sys.argv[1:] if arguments is None else arguments
    # `--debug` may stand anywhere among the options, also after the verb.
    end = words.index("--") if "--" in words else len(words)
    debug = "--debug" in words[:end]
    options = [word for word in words[:end] if word != "--debug"]
    words = (["--debug"] if debug else []) + options + words[end:]
    try:
        _app(words)
    except UnveilError as error:
        if debug:
            raise
        typer.echo(f"unveil: {error}", err=True)
        raise SystemExit(1) from None
