"""`unveil data check`, `toy` and `draw`: look after sets of photos."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unveil.cli.shared_options import AsJson
from unveil.cli.wording import counted, print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unveil.data import SetReport, Source

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Check sets of photos, or draw a small one."
)


@app.command()
def check(
    folders: Annotated[list[Path], typer.Argument(help="Clean photos, pairs, or PromptIR's tree.")],
    layout: Annotated[
        str | None,
        typer.Option(help='How pairs are named, e.g. "rainy/rain-{id} -> gt/norain-{id}".'),
    ] = None,
    min_size: Annotated[
        int, typer.Option(help="Shortest side accepted: the largest training patch.", min=0)
    ] = 0,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="List every pair, not only the first of each source.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List what is wrong with a set, all of it; the exit code is 1 if it cannot be used."""
    from unveil.data import check_sources, find_sources

    sources = [source for folder in folders for source in find_sources(folder, layout)]
    with _progress("decoding") as step:
        report = check_sources(sources, min_size=min_size, progress=step)
    if as_json:
        facts = {**_facts(report), "pairs": _pairs(sources)}
        print_json(facts)
    else:
        for problem in report.problems:
            typer.echo(str(problem))
        for line in _paired(sources, all_pairs=pairs):
            typer.echo(line)
        typer.echo(_summary(report))
    if not report.usable:
        raise typer.Exit(1)


@app.command()
def toy(
    out: Annotated[Path, typer.Argument(help="Gets the folders train and test.")],
    count: Annotated[int, typer.Option(help="Pictures to train on.", min=1, max=100_000)] = 24,
    test_count: Annotated[int, typer.Option(help="Pictures to test on.", min=0, max=100_000)] = 6,
    size: Annotated[
        int, typer.Option(help="Side of the pictures, pixels.", min=16, max=4096)
    ] = 320,
    seed: Annotated[int, typer.Option(help="The same seed draws the same set.", min=0)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a set that is there.")] = False,
) -> None:
    """Draw a small clean set, so that training and evaluation run without a download."""
    from unveil.data import write_toy_set

    files = write_toy_set(
        out, count=count, test_count=test_count, size=size, seed=seed, force=force
    )
    for folder in dict.fromkeys(path.parent for path in files):
        typer.echo(f"{folder}  {sum(path.parent == folder for path in files)} pictures")


@app.command()
def draw(
    out: Annotated[Path, typer.Argument(help="Gets the pictures.")],
    kinds: Annotated[
        list[str], typer.Option("--kind", help="Flat areas, skies, text and so on; `any` for all.")
    ],
    count: Annotated[int, typer.Option(help="Pictures of each kind.", min=1, max=100_000)] = 12,
    size: Annotated[int, typer.Option(help="Side of the pictures, pixels.", min=8, max=8192)] = 256,
    seed: Annotated[int, typer.Option(help="The same seed draws the same set.", min=0)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Draw clean pictures that restoring must leave alone, to test on."""
    from unveil.data import write_generated

    files = write_generated(out, kinds, count=count, size=size, seed=seed, force=force)
    typer.echo(f"{out}  {counted(len(files), 'picture')}")


def _pairs(sources: "Sequence[Source]") -> list[dict[str, str]]:
    return [
        {"degraded": str(pair.degraded), "clean": str(pair.clean)}
        for source in sources
        for pair in source.pairs
        if pair.degraded is not None
    ]


def _paired(sources: "Sequence[Source]", *, all_pairs: bool) -> list[str]:
    """Return what was paired by which layout, so that a wrong match is seen."""
    lines = []
    for source in sources:
        found = [pair for pair in source.pairs if pair.degraded is not None]
        shown = found if all_pairs else found[:1]
        lines += [f"pair: {pair.degraded} -> {pair.clean}" for pair in shown]
        if len(found) > len(shown):
            more = counted(len(found) - len(shown), "more pair")
            lines.append(f"      and {more} by {source.layout!r}; --pairs lists all")
    return lines


def _facts(report: "SetReport") -> dict[str, Any]:
    return {
        "usable": report.usable,
        "photos": report.photos,
        "samples": report.samples,
        "megapixels": round(report.pixels / 1e6, 3),
        "problems": [
            {**problem._asdict(), "path": str(problem.path), "fatal": problem.fatal}
            for problem in report.problems
        ],
    }


def _summary(report: "SetReport") -> str:
    memory = 3 * report.pixels / 2**20
    samples, files = counted(report.samples, "sample"), counted(report.photos, "file")
    counts = f"{samples} in {files}, {memory:.0f} MB decoded"
    fatal = sum(problem.fatal for problem in report.problems)
    if fatal:
        return f"{counts}; cannot be used as it is: {counted(fatal, 'problem')}"
    notes = len(report.problems)
    return f"{counts}; fit for use" + (f", {counted(notes, 'duplicate')}" if notes else "")


@contextmanager
def _progress(label: str) -> Iterator["Callable[[int, int], None]"]:
    """Show a bar on stderr while files are read; nothing where stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
