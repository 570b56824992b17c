"""`unveil evaluate`: a model's scores under a named protocol."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unveil.cli.shared_options import (
    MOST_SEED,
    DegradeWith,
    Device,
    Exclude,
    FirstImages,
    Include,
    Metrics,
    PairLayout,
    SigmaLevels,
    Threads,
    use_threads,
)

if TYPE_CHECKING:
    from unveil.evaluation import Case, ImageScore

_LOG_SECONDS = 30
_PROTOCOLS = "gaussian-color, gaussian-gray, all-in-one, rain-y or paired-rgb (alias rain-rgb)."


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A model's id, a saved file or folder, `identity` or `nlm`.")
    ],
    data: Annotated[Path, typer.Option(help="Folder of clean images or pairs.")],
    protocol: Annotated[str, typer.Option(help=_PROTOCOLS)],
    sigma: SigmaLevels = None,
    degradations: DegradeWith = None,
    layout: PairLayout = None,
    bands: Annotated[
        list[str] | None,
        typer.Option(
            "--banding",
            help="Measure bands along rows and columns in smooth parts: `all`, or "
            "NAME=TOP:BOTTOM,LEFT:RIGHT in pixels. May be repeated.",
            metavar="PART",
        ),
    ] = None,
    metric: Metrics = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for JSON, Markdown and HTML; a killed run goes on there."
        ),
    ] = None,
    limit: FirstImages = None,
    include: Include = None,
    exclude: Exclude = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Of the noise; papers use 0.")
    ] = 0,
    threads: Threads = None,
    device: Device = "auto",
    force: Annotated[bool, typer.Option("--force", help="Overwrite another evaluation.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of Markdown.")
    ] = False,
) -> None:
    """Score a model on a folder of images, beside published numbers of the same protocol."""
    from unveil.evaluation import evaluate as run
    from unveil.evaluation import (
        load_method,
        make_cases,
        parse_patch,
        protocol_named,
        to_markdown,
        write_report,
    )
    from unveil.metrics import metric_named
    from unveil.process import keep_freed_memory

    keep_freed_memory()
    use_threads(threads)
    chosen = protocol_named(protocol)
    cases = make_cases(sigma or [], degradations or [])
    patches = [parse_patch(text) for text in bands or []]
    with progress(model) as on_image:
        report = run(
            load_method(model, device=device),
            chosen,
            data,
            cases=cases,
            layout=layout,
            seed=seed,
            limit=limit,
            include=include or None,
            exclude=exclude or None,
            patches=patches,
            metrics=[metric_named(name) for name in metric or []],
            output=output,
            force=force,
            on_image=on_image,
        )
    if output:
        write_report(report, output)
    fields = chosen.fields()
    text = json.dumps(report.to_json(fields), indent=2) if as_json else to_markdown(report)
    typer.echo(text.rstrip())


@contextmanager
def progress(model: str) -> Iterator[Callable[[int, int, "Case", "ImageScore"], None]]:
    """Show images done, the last score and the time left on stderr: live, or as lines in a log."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _logger(model)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task(model, total=None)

        def on_image(done: int, total: int, case: "Case", score: "ImageScore") -> None:
            text = f"{case.label} {score.name} {score.psnr:.2f} dB"
            display.update(task, completed=done, total=total, description=text)

        yield on_image


def _logger(model: str) -> Callable[[int, int, "Case", "ImageScore"], None]:
    """Print a line now and then, where nobody watches."""
    last, last_done = time.monotonic(), 0

    def on_image(done: int, total: int, case: "Case", score: "ImageScore") -> None:
        nonlocal last, last_done
        now = time.monotonic()
        if now - last >= _LOG_SECONDS:
            # The pace since the last line: scores found from a killed run cost no time.
            left = (now - last) / (done - last_done) * (total - done)
            last, last_done = now, done
            text = f"{case.label} {score.name} {score.psnr:.2f} dB"
            typer.echo(f"{model}: {done}/{total} {text}, about {left:.0f} s left", err=True)

    return on_image
