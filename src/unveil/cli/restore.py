"""`unveil restore`: better photos from photos."""

import os
import signal
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from unveil.bounded import MOST_THREADS
from unveil.cli.restoring import (
    Restoration,
    clips_among,
    listed_paths,
    refuse_together,
    restoring_clips,
    restoring_images,
    restoring_on_cluster,
    restoring_on_server,
    write_table,
)
from unveil.cli.shared_options import (
    AsJson,
    Device,
    MaxMegapixels,
    TaskOption,
    Threads,
    given_options,
    use_threads,
    whole_number,
)
from unveil.cli.wording import complain, print_json, skipped_folders
from unveil.process import stop_signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unveil.batch.jobs import Job, Plan
    from unveil.batch.outcome import Outcome
    from unveil.errors import UnveilError
    from unveil.inference.options import TaskChoice

_LOG_SECONDS = 30


def restore(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Image files, folders, patterns, or clips.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder, or file for a single input; default: beside."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model id or weights file; default: all-in-one, else the denoiser."),
    ] = None,
    task: TaskOption = "auto",
    strength: Annotated[
        float, typer.Option(help="Share of the change that is applied, 0 to 1.")
    ] = 1.0,
    strength_luma: Annotated[
        float | None, typer.Option(help="The same of luminance; default: as --strength.")
    ] = None,
    strength_chroma: Annotated[
        float | None, typer.Option(help="The same of colour; default: as --strength.")
    ] = None,
    tile: Annotated[
        str, typer.Option(help="auto, off, or the side of a tile in pixels.", metavar="auto|off|N")
    ] = "auto",
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="jpeg, png, tiff, webp, avif, …; default: as the input."),
    ] = None,
    name: Annotated[
        str, typer.Option(help="Names of the results.", show_default=True)
    ] = "{stem}.restored{ext}",
    quality: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Of lossy formats; default: as a JPEG input has it."),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average over 8 flips and rotations: 8 times slower.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Go into folders below the given ones.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also write original and result side by side.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace results that are there.")
    ] = False,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place", help="Replace the files; the originals stay as {stem}.original{ext}."
        ),
    ] = False,
    keep_date: Annotated[
        bool, typer.Option("--keep-date", help="Give results the dates of their files.")
    ] = False,
    develop: Annotated[
        str,
        typer.Option(
            help="For raw photographs: white-balance=camera|auto|daylight, highlights=keep|clip, "
            "exposure=STOPS; separated by commas.",
            metavar="NAME=VALUE,…",
        ),
    ] = "",
    max_megapixels: MaxMegapixels = 250.0,
    device: Device = "auto",
    threads: Threads = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Only part i of n: for n processes at once.", metavar="i/n"),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(help="Hand files to a running `unveil serve`; token from UNVEIL_TOKEN."),
    ] = None,
    damping: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.99, help="Clips: share of the last frame where the scene stands still."
        ),
    ] = 0.0,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Restore by several processes: on this machine, or on a Ray cluster.",
            metavar="local|auto|ADDRESS",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="With --ray: processes.")
    ] = None,
    cores: Annotated[
        int, typer.Option(min=1, max=MOST_THREADS, help="With --ray: cores of each process.")
    ] = 1,
    listed: Annotated[
        Path | None, typer.Option("--list", help="Text file with more paths, one a line.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a table of what became of each file, as CSV.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove noise, rain and haze from photographs; size, depth, colours and metadata stay."""
    from unveil.batch.jobs import plan
    from unveil.errors import ImageFileError, InputError
    from unveil.imaging import Develop
    from unveil.imaging.formats import format_named
    from unveil.inference.naming import Naming
    from unveil.inference.options import RestoreOptions, parse_tile

    paths = [*(paths or []), *listed_paths(listed)]
    clips = clips_among(paths)
    refuse_together(given_options(context), clips=bool(clips))
    try:
        options = vars(
            RestoreOptions(
                model=model, task=cast("TaskChoice", task), strength=strength,
                strength_luma=strength_luma, strength_chroma=strength_chroma,
                tile=parse_tile(tile), ensemble=ensemble, device=device,
                max_megapixels=max_megapixels, develop=Develop.parse(develop),
            )
        )  # fmt: skip
        naming = Naming(name, format_named(format_name) if format_name else None)
        images = [] if clips else paths
        whole = plan(images, output=output, naming=naming, recursive=recursive, in_place=in_place)
        made = whole if shard is None else whole.shard(*_shard(shard))
    except (InputError, ImageFileError) as error:
        raise typer.BadParameter(str(error)) from error
    alone = len(paths) == 1 and len(whole.jobs) <= 1 and not os.path.isdir(paths[0])
    if server is None:
        from unveil.batch.run import Saving
        from unveil.process import keep_freed_memory

        keep_freed_memory()
        use_threads(threads)
        saving = Saving(quality, force, compare, in_place or not alone, keep_date)
        if ray is not None:
            restoration = restoring_on_cluster(made, ray, workers, cores, options, saving)
        elif clips:
            restoration = restoring_clips(
                clips, output, name, options, damping=damping, force=force
            )
        else:
            restoration = restoring_images(made.jobs, options, saving)
    else:
        restoration = restoring_on_server(
            server, made.jobs, options | {"quality": quality}, force=force, remember=not alone
        )
    outcomes, stopped = _run(restoration, made.jobs)
    if report is not None:
        write_table(report, outcomes, made.failed)
    _report(outcomes, made.failed, compare, as_json, stopped is not None)
    _finish(made, whole, outcomes, stopped)


def _finish(
    made: "Plan", whole: "Plan", outcomes: "Sequence[Outcome]", stopped: signal.Signals | None
) -> None:
    """Print what was left out or not reached, and exit with what it means."""
    if whole.left_out:
        complain(skipped_folders(whole.left_out))
    if stopped is not None:
        count = f"{len(outcomes)} of {len(made.jobs)} files"
        complain(f"stopped after {count}; start again to go on")
        raise typer.Exit(128 + stopped)
    if made.failed or any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    number, count = whole_number(part), whole_number(parts)
    if number is None or count is None:
        raise typer.BadParameter(f"expected i/n, such as 2/3, got {text!r}", param_hint="--shard")
    return number, count


def _run(
    restoration: Restoration, jobs: "Sequence[Job]"
) -> "tuple[list[Outcome], signal.Signals | None]":
    """Restore with progress, ETA and speed on stderr.

    Returns:
        What became of the files, and the signal that ended it before the last one, if one did.
    """
    from rich.console import Console
    from rich.logging import RichHandler
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}/{task.fields[files]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    outcomes: list[Outcome] = []
    received: list[signal.Signals] = []

    def interrupt(number: int, _frame: Any) -> None:
        received.append(signal.Signals(number))
        raise KeyboardInterrupt

    with ExitStack() as stack:
        stack.enter_context(stop_signals(interrupt))
        stack.enter_context(_logging_to(RichHandler(console=console, show_path=False)))
        bar = stack.enter_context(
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        )
        line = bar.add_task("", total=max(len(jobs), 1), count=0, files=len(jobs), speed="")
        position = {id(job): i for i, job in enumerate(jobs)}

        def share(job: "Job", done: float) -> None:
            bar.update(line, completed=position[id(job)] + done, description=job.source.name)

        start = printed = time.monotonic()
        with suppress(KeyboardInterrupt):
            for outcome in restoration(share=share):
                outcomes.append(outcome)
                rate = len(outcomes) / max(time.monotonic() - start, 1e-9)
                bar.update(line, count=len(outcomes), speed=f"{rate:.2f} images/s")
                if not console.is_terminal and time.monotonic() - printed > _LOG_SECONDS:
                    printed = time.monotonic()
                    left = (len(jobs) - len(outcomes)) / rate
                    count = f"{len(outcomes)}/{len(jobs)} files"
                    typer.echo(f"{count}, {rate:.2f} images/s, {left:.0f} s left", err=True)
    return outcomes, received[0] if received and len(outcomes) < len(jobs) else None


@contextmanager
def _logging_to(handler: Any) -> "Iterator[None]":
    import logging

    logger = logging.getLogger("unveil")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _report(
    outcomes: "Sequence[Outcome]",
    refused: "Sequence[tuple[Path, UnveilError]]",
    compare: bool,
    as_json: bool,
    stopped: bool,
) -> None:
    from unveil.batch.jobs import comparison_name

    results: list[dict[str, Any]] = []
    for outcome in outcomes:
        entry: dict[str, Any] = {"source": str(outcome.source), "status": outcome.status}
        if outcome.status == "failed":
            entry["error"] = outcome.reason
        else:
            entry["target"] = str(outcome.target)
            if compare:
                entry["comparison"] = str(comparison_name(outcome.target))
        if outcome.status == "restored":
            entry |= {"megapixels": outcome.megapixels, "seconds": round(outcome.seconds, 3)}
        results.append(entry)
    for path, error in refused:
        results.append({"source": str(path), "status": "failed", "error": str(error)})
    if as_json:
        print_json({"results": results, "stopped": stopped})
    else:
        _print_lines(results)
    for entry in results:
        if entry["status"] == "failed":
            complain(entry["error"])


def _print_lines(results: list[dict[str, Any]]) -> None:
    for entry in results:
        if entry["status"] == "restored":
            typer.echo(entry["target"])
            if "comparison" in entry:
                typer.echo(entry["comparison"])
    skipped = sum(entry["status"] == "skipped" for entry in results)
    if skipped:
        typer.echo(f"{skipped} already done", err=True)
