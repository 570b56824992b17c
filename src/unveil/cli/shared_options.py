"""Options that several verbs take, and their bounds."""

from collections.abc import Callable
from typing import Annotated

import typer

from unveil.bounded import MOST_THREADS

# The legacy generator that papers used takes no larger ones.
MOST_SEED = 2**32 - 1
_MOST_DIGITS = 18

Include = Annotated[
    list[str] | None,
    typer.Option(help="Only files whose name matches, e.g. '*_wall_*'. May be repeated."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Leave out files whose name matches. May be repeated."),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(help="Also score by a registered metric, or a plug-in's. May be repeated."),
]
SigmaLevels = Annotated[
    list[str] | None,
    typer.Option(help="Noise levels on the 0–255 scale, e.g. 15,25,50.", metavar="LEVELS"),
]
DegradeWith = Annotated[
    list[str] | None,
    typer.Option("--with", help='Degrade clean images, e.g. "rain:heavy". May be repeated.'),
]
PairLayout = Annotated[
    str | None, typer.Option("--pairs", help='How files pair: "input/{name} -> target/{name}".')
]
FirstImages = Annotated[int | None, typer.Option(min=1, help="Score the first so many images.")]
Device = Annotated[str, typer.Option(help="Where networks run: auto, cpu, cuda.")]
TaskOption = Annotated[str, typer.Option(help="auto, denoise, derain, dehaze or deblur.")]
Threads = Annotated[int | None, typer.Option(min=1, max=MOST_THREADS, help="Threads to use.")]
MaxMegapixels = Annotated[float, typer.Option(help="Refuse files that claim to be larger.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
OnlyJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Repeats = Annotated[int, typer.Option(min=1, max=10_000, help="Turns; medians are printed.")]


def given_options(context: typer.Context) -> set[str]:
    """Return the names of the options that have another value than their default's."""
    return {
        option.opts[0].removeprefix("--")
        for option in context.command.params
        if option.name and context.params[option.name] != option.default
    }


def use_threads(threads: int | None) -> None:
    """Give torch so many threads; None leaves them as they are."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def whole_number(text: str) -> int | None:
    """Return a whole number above 0 written in digits; None for anything else or above 10¹⁸.

    >>> whole_number("12"), whole_number("-1"), whole_number("9" * 5000)
    (12, None, None)
    """
    if not (text.isascii() and text.isdecimal()) or len(text) > _MOST_DIGITS:
        return None
    return int(text) or None


def whole_numbers(text: str, most: int) -> list[int]:
    """Return whole numbers above 0 that are joined by commas.

    Args:
        text: As given.
        most: The largest that is accepted.

    Raises:
        BadParameter: It is something else.
    """
    found = [whole_number(word.strip()) for word in text.split(",")]
    good = [number for number in found if number is not None and number <= most]
    if len(good) < len(found):
        raise typer.BadParameter(f"expected whole numbers up to {most:,} with commas, got {text!r}")
    return good


def numbers(text: str, accept: Callable[[float], bool], what: str) -> list[float]:
    """Return numbers that are joined by commas.

    Args:
        text: As given.
        accept: Whether a number is in its range.
        what: They are expected to be, for the message.

    Raises:
        BadParameter: It is something else.
    """
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(map(accept, found)):
        raise typer.BadParameter(f"expected {what} with commas, got {text!r}")
    return found
