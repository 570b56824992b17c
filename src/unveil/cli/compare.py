"""`unveil compare`: the paired difference of two models, with a confidence interval."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from unveil.cli.wording import print_json

if TYPE_CHECKING:
    from unveil.evaluation import Report

_MODEL = (
    "A result of `unveil evaluate` (file or folder), or a model to evaluate now; several training "
    "runs joined by commas."
)


def compare(
    a: Annotated[str, typer.Argument(help=_MODEL)],
    b: Annotated[str, typer.Argument(help=_MODEL)],
    data: Annotated[
        Path | None, typer.Option(help="Folder of images, for models evaluated now.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Protocol, for models evaluated now.")
    ] = None,
    sigma: SigmaLevels = None,
    degradations: DegradeWith = None,
    layout: PairLayout = None,
    limit: FirstImages = None,
    include: Include = None,
    exclude: Exclude = None,
    metric: Metrics = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Of the noise and of the bootstrap.")
    ] = 0,
    confidence: Annotated[float, typer.Option(help="Of the interval, between 0 and 1.")] = 0.95,
    threads: Threads = None,
    device: Device = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of Markdown.")
    ] = False,
) -> None:
    """Compare two models image by image, or two sets of training runs: A1,A2,A3 B1,B2,B3."""
    from unveil.evaluation import compare as run
    from unveil.evaluation import comparison_to_json, comparison_to_markdown, make_cases
    from unveil.metrics import metric_named
    from unveil.process import keep_freed_memory

    keep_freed_memory()
    use_threads(threads)
    options = {
        "cases": make_cases(sigma or [], degradations or []),
        "layout": layout,
        "limit": limit,
        "include": include or None,
        "exclude": exclude or None,
        "metrics": [metric_named(name) for name in metric or []],
        "seed": seed,
    }
    sides = [_runs(side) for side in (a, b)]
    if all(_is_result(name) for side in sides for name in side):
        given: dict[str, Any] = {
            "--data": data, "--protocol": protocol, "--sigma": sigma, "--with": degradations,
            "--pairs": layout, "--limit": limit, "--include": include, "--exclude": exclude,
            "--metric": metric,
        }  # fmt: skip
        _refuse([name for name, value in given.items() if value])
    first, second = (
        [_report(name, data, protocol, device, options) for name in side] for side in sides
    )
    differences = run(first, second, confidence=confidence, seed=seed)
    if as_json:
        plain = comparison_to_json(first, second, differences, confidence=confidence)
        print_json(plain)
    else:
        text = comparison_to_markdown(first, second, differences, confidence=confidence)
        typer.echo(text.rstrip())


def _runs(side: str) -> list[str]:
    """Split a side at its commas; a file whose name has one is itself."""
    names = [side] if Path(side).exists() else [name.strip() for name in side.split(",")]
    if not all(names):
        raise typer.BadParameter(f"a name is missing in {side!r}; expected A1,A2,A3")
    return names


def _is_result(name: str) -> bool:
    return Path(name).suffix == ".json" or (Path(name) / "results.json").is_file()


def _refuse(unused: list[str]) -> None:
    from unveil.errors import InputError

    if unused:
        raise InputError(
            f"both are results already: {', '.join(unused)} would have no effect; leave it out"
        )


def _report(
    name: str, data: Path | None, protocol: str | None, device: str, options: dict[str, Any]
) -> "Report":
    """Read a result, or evaluate a model now."""
    from unveil.cli.evaluate import progress
    from unveil.errors import InputError
    from unveil.evaluation import Report, evaluate, load_method, protocol_named

    if _is_result(name):
        return Report.read(Path(name))
    if data is None or protocol is None:
        raise InputError(f"{name} is no result: give --data and --protocol to evaluate it now")
    restorer, chosen = load_method(name, device=device), protocol_named(protocol)
    with progress(name) as on_image:
        return evaluate(restorer, chosen, data, on_image=on_image, **options)
