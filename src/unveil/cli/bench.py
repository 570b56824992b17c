"""`unveil bench`: what this machine makes of the scan, the networks and whole photographs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unveil.bounded import MOST_THREADS
from unveil.cli.shared_options import (
    OnlyJson,
    Repeats,
    Threads,
    numbers,
    use_threads,
    whole_numbers,
)
from unveil.cli.wording import counted, print_json

if TYPE_CHECKING:
    from unveil.bench.against import Comparison
    from unveil.bench.exported import ExportTiming
    from unveil.bench.model import ModelBench
    from unveil.bench.scan import ScanBench

Models = Annotated[
    list[str] | None, typer.Argument(help="Models; the small variants when none is named.")
]
SquareSide = Annotated[
    int, typer.Option(min=8, max=8192, help="Side of the square image in pixels.")
]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Measure speed and memory here.")


@app.callback()
def bench() -> None:
    """Measure speed and memory here."""


@app.command()
def model(
    models: Models = None,
    size: SquareSide = 512,
    repeats: Repeats = 5,
    step: Annotated[
        bool, typer.Option(help="Also time a training step on 16×3×64×64 pixels.")
    ] = True,
    threads: Threads = None,
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Compare: with another checkout or installation of unveil, both in turns, in "
            "place of the yardstick; or with a file of earlier figures, printed by --json.",
        ),
    ] = None,
    as_json: OnlyJson = False,
) -> None:
    """Time networks beside a plain convolution network, taking turns in one run."""
    import torch

    from unveil.bench.model import bench_models

    use_threads(threads)
    names = models or ["cu_mamba_small", "mtair_small"]
    if against is not None and against.is_dir():
        from unveil.bench.against import compare_builds

        count = torch.get_num_threads()
        shown = (lambda _: None) if as_json else _print_comparison
        compared = compare_builds(
            names, against, size=size, repeats=repeats, step=step, threads=count, done=shown
        )
        if as_json:
            print_json(compared.as_dict())
            return
        own, other = (kernel or "no kernels" for kernel in compared.kernels)
        typer.echo(
            f"float32, {counted(count, 'thread')}, median of {repeats}; this build ({own}) over "
            f"{against} ({other})"
        )
        return
    result = bench_models(names, size=size, repeats=repeats, step=step)
    if as_json:
        print_json(result.as_dict())
    else:
        _print_models(result)
    if against is not None:
        from unveil.bench.against import compare_figures

        for name, work, ratio in compare_figures(result, against):
            typer.echo(f"{name}, {work}: {ratio:.2f} of the earlier time", err=as_json)


@app.command()
def passes(
    repeats: Repeats = 15,
    threads: Threads = None,
    as_json: OnlyJson = False,
) -> None:
    """Time the fused passes beside the same in plain PyTorch operations."""
    from unveil.bench.passes import bench_passes

    use_threads(threads)
    result = bench_passes(repeats=repeats)
    if as_json:
        print_json(result.as_dict())
        return
    typer.echo(
        f"float32, {counted(result.threads, 'thread')}, median of {result.repeats}; "
        "times plain/native"
    )
    for row in result.timings:
        shape = "×".join(map(str, row.shape))
        typer.echo(
            f"{row.name:28} {shape:13} forward {row.forward_us:6.0f} µs {row.forward_ratio:5.2f}×"
            f"   with backward {row.step_us:6.0f} µs {row.step_ratio:5.2f}×"
        )


@app.command()
def export(
    models: Models = None,
    size: SquareSide = 512,
    repeats: Repeats = 5,
    threads: Threads = None,
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Take the native pass of another checkout or installation of unveil.",
        ),
    ] = None,
    as_json: OnlyJson = False,
) -> None:
    """Time exported networks in ONNX Runtime beside the native pass, taking turns in one run."""
    from unveil.errors import MissingExtraError

    use_threads(threads)
    try:
        from unveil.bench.exported import bench_exported
    except ModuleNotFoundError as error:
        raise MissingExtraError("unveil bench export", "onnx") from error
    names = models or ["cu_mamba_small", "mtair_small"]
    shown = (lambda _: None) if as_json else _print_exported
    result = bench_exported(names, size=size, repeats=repeats, against=against, done=shown)
    if as_json:
        print_json(result.as_dict())
        return
    typer.echo(
        f"float32, {counted(result.threads, 'thread')}, 1×3×{size}×{size}, median of "
        f"{result.repeats}; ONNX Runtime over the native pass"
        + (f" of {against}" if against is not None else "")
    )


@app.command()
def restore(
    models: Models = None,
    sizes: Annotated[str, typer.Option(help="Megapixels, e.g. 0.25,1,4.")] = "0.25,1,4,24",
    repeats: Repeats = 3,
    limit: Annotated[
        float, typer.Option(min=0.0, help="Leave out passes that would take longer, in seconds.")
    ] = 300.0,
    threads: Threads = None,
    as_json: OnlyJson = False,
) -> None:
    """Time whole photographs beside a convolution network and non-local means, in one run."""
    from unveil.bench.restore import bench_restore

    megapixels = numbers(sizes, lambda size: 0 < size <= 250, "megapixels up to 250")
    use_threads(threads)
    names = models or ["cu_mamba_small", "mtair_small"]
    result = bench_restore(names, megapixels=megapixels, repeats=repeats, limit=limit)
    if as_json:
        print_json(result.as_dict())
        return
    typer.echo(f"uint8 in memory, {counted(result.threads, 'thread')}, median of {result.repeats}")
    for row in result.timings:
        if row.seconds_per_megapixel is None:
            typer.echo(f"{row.megapixels:6g} MP  {row.id:18} left out: {row.left_out}")
            continue
        ratio = "" if row.ratio is None else f"{row.ratio:7.2f}× yardstick"
        peak = "" if row.peak_mebibytes is None else f"{row.peak_mebibytes:7.0f} MiB"
        speed = f"{row.seconds_per_megapixel:8.2f} s/MP"
        typer.echo(f"{row.megapixels:6g} MP  {row.id:18}{speed}{ratio}{peak}")


@app.command()
def scan(
    lengths: Annotated[
        str, typer.Option(help="Tokens l, with commas.")
    ] = "256,1024,4096,16384,65536",
    channels: Annotated[str, typer.Option(help="Channels d, with commas.")] = "96,192",
    states: Annotated[str, typer.Option(help="States n, with commas.")] = "8,16",
    repeats: Repeats = 7,
    threads: Annotated[str, typer.Option(help="Threads of the kernel, with commas.")] = "1,2",
    only_native: Annotated[bool, typer.Option(help="Leave out all but the kernel.")] = False,
    as_json: OnlyJson = False,
) -> None:
    """Time the selective scan's backends and the machine's limit, taking turns in one run."""
    from unveil.bench.scan import bench_scan

    bounds = ((lengths, 2**20), (channels, 4096), (states, 256))
    sizes = [whole_numbers(text, most) for text, most in bounds]
    chosen = whole_numbers(threads, MOST_THREADS)
    result = bench_scan(*sizes, repeats=repeats, threads=chosen, only_native=only_native)
    if as_json:
        print_json(result.as_dict())
    else:
        _print_scan(result)


def _print_scan(result: "ScanBench") -> None:
    for count, value in result.limits.items():
        typer.echo(f"limit on {counted(count, 'thread')}: {value / 1e9:.2f} G state updates/s")
    typer.echo(f"float32, b 1, median of {result.repeats}; memory beyond results in sizes of u")
    heading = f"{'backend':12} {'thr':>3} {'l':>7} {'d':>4} {'n':>3}"
    typer.echo(
        f"{heading} {'fwd ms':>9} {'G/s':>6} {'limit':>6} {'mem':>6}"
        f" {'f+b ms':>9} {'G/s':>6} {'limit':>6} {'mem':>6}"
    )
    for t in result.timings:
        where = f"{t.name:12} {t.threads:3d} {t.length:7d} {t.channels:4d} {t.states:3d}"
        halves = (
            (t.forward_ms, t.forward_updates, t.forward_share, t.forward_extra),
            (t.step_ms, t.step_updates, t.step_share, t.step_extra),
        )
        cells = "".join(
            f" {ms:9.3f} {updates / 1e9:6.2f} {share:6.1%}"
            + (f" {'–':>6}" if extra is None else f" {extra:6.2f}")
            for ms, updates, share, extra in halves
        )
        typer.echo(where + cells)
    for name, exponent in result.exponents().items():
        typer.echo(f"time of the forward grows with l to the power {exponent:.2f} ({name})")


def _print_exported(row: "ExportTiming") -> None:
    typer.echo(
        f"{row.id:16} {row.seconds:8.3f} s / {row.native_seconds:.3f} s = {row.ratio:.2f}, of CPU "
        f"time {row.cpu_ratio:.2f}; opened in {row.load_seconds:.2f} s, {row.size_ratio:.2f} times "
        "the weights' size"
    )


def _print_comparison(row: "Comparison") -> None:
    shape = f"{row.batch}×3×{row.size}×{row.size}"
    typer.echo(
        f"{row.id:16} {row.work:10} {shape:14} {row.seconds:8.3f} s / {row.other_seconds:.3f} s"
        f" = {row.ratio:.2f}, of CPU time {row.cpu_ratio:.2f}"
    )


def _print_models(result: "ModelBench") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title_justify="left")
    table.title = (
        f"float32, {counted(result.threads, 'thread')}, median of {result.repeats}; "
        f"pass on {result.height}×{result.width}, step on 16×3×64×64"
    )
    table.add_column("model")
    for heading in (
        "parameters",
        "MAC/px",
        "scan/px",
        "s/MP",
        "ratio",
        "of ONNX",
        "MiB",
        "s/step",
        "ratio",
    ):
        table.add_column(heading, justify="right")
    for row in result.timings:
        table.add_row(
            row.id,
            f"{row.parameters:,}",
            f"{row.multiply_adds_per_pixel:,.0f}",
            f"{row.scan_updates_per_pixel:,.0f}",
            f"{row.seconds_per_megapixel:.2f}",
            f"{row.inference_ratio:.2f}",
            "–" if row.onnx_ratio is None else f"{row.onnx_ratio:.2f}",
            "–" if row.peak_mebibytes is None else f"{row.peak_mebibytes:.0f}",
            "–" if row.step_seconds is None else f"{row.step_seconds:.3f}",
            "–" if row.step_ratio is None else f"{row.step_ratio:.2f}",
        )
    console = Console()
    console.width = max(console.width, 100)
    console.print(table)
    for row in result.timings[1:]:
        parts = Table(box=None, pad_edge=False)
        parts.add_column("layer")
        parts.add_column("s/MP", justify="right")
        for kind, seconds in row.seconds_by_layer.items():
            parts.add_row(kind, f"{seconds:.3f}")
        console.print(f"\n{row.id}, by layer", parts)
