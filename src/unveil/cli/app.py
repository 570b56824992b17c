"""Assemble the verbs into the `unveil` command and turn errors into one line."""

import errno
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from unveil._version import __version__
from unveil.cli.wording import complain, print_any_name
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
    "export": "unveil.cli.export",
    "inspect": "unveil.cli.inspect",
    "models": "unveil.cli.models",
    "restore": "unveil.cli.restore",
    "serve": "unveil.cli.serve",
    "train": "unveil.cli.train",
    "web": "unveil.cli.web",
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


# Typer brings its own copy of click, or an installed one; both are reached from here.
_WRONG_USAGE: type[Exception] = typer.BadParameter.__mro__[2]

_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")

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
    """Run the command line; without `arguments`, with those of the process.

    Raises:
        SystemExit: Always: 0 for success, 1 for failure, 2 for wrong usage, 130 when cancelled.
    """
    words = sys.argv[1:] if arguments is None else arguments
    # `--debug` may stand anywhere among the options, also after the verb.
    end = words.index("--") if "--" in words else len(words)
    debug = "--debug" in words[:end]
    options = [word for word in words[:end] if word != "--debug"]
    words = (["--debug"] if debug else []) + options + words[end:]
    print_any_name()
    raise SystemExit(_run(words, debug))


def _run(words: list[str], debug: bool) -> int:
    """Run a command; what can go wrong on a healthy machine becomes one line."""
    try:
        command = typer.main.get_command(_app)
        return int(command.main(words, prog_name="unveil", standalone_mode=False) or 0)
    except _WRONG_USAGE as error:
        return _explain(error)
    except typer.Abort:
        complain("aborted")
    except UnveilError as error:
        if debug:
            raise
        complain(error)
    except MemoryError:
        if debug:
            raise
        complain("not enough memory for this; try smaller images, sizes or batches")
    except RuntimeError as error:
        # Torch has no class of its own for it on a processor.
        if debug or not any(words in str(error) for words in _NO_MEMORY):
            raise
        complain("not enough memory for this; try smaller images, sizes or batches")
    except OSError as error:
        if error.errno == errno.EPIPE:
            _drop_output()
            return 1
        if debug:
            raise
        place = f"{error.filename!s}: " if error.filename else ""
        complain(f"{place}{error.strerror or error}")
    return 1


def _explain(error: Any) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        name = error.ctx.command_path if getattr(error, "ctx", None) else "unveil"
        text = error.format_message().removesuffix(".")
        complain(f"{text}; `{name} --help` lists what there is")
    return int(error.exit_code)


def _drop_output() -> None:
    """Keep Python from writing into a pipe that nobody reads any more."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, suppress(OSError):
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
