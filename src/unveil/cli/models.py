"""`unveil models`: what networks there are."""

from typing import Annotated, Any

import typer

from unveil.cli.shared_options import OnlyJson
from unveil.cli.wording import print_json


def models(
    timed: Annotated[
        bool,
        typer.Option(
            "--time",
            help="Measure seconds per megapixel here; base variants are left out.",
        ),
    ] = False,
    as_json: OnlyJson = False,
) -> None:
    """List the networks: size, cost per pixel, tasks, bundled weights, paper."""
    from unveil.models.checkpoint import bundled_weights
    from unveil.models.registry import list_models

    bundled = bundled_weights()
    rows = [_row(model_id, model_id in bundled) for model_id in list_models()]
    if timed:
        seconds = _timed([row["id"] for row in rows if not row["id"].endswith("base")])
        rows = [row | {"seconds_per_megapixel": seconds.get(row["id"])} for row in rows]
    if as_json:
        print_json(rows)
        return
    _print(rows)


def _row(model_id: str, bundled: bool) -> dict[str, Any]:
    from unveil.models.registry import get_record
    from unveil.models.sizes import model_size

    record, size = get_record(model_id), model_size(model_id)
    return {
        "id": model_id,
        "parameters": size.parameters,
        "multiply_adds_per_pixel": round(size.cost.multiply_adds_per_pixel),
        "scan_updates_per_pixel": round(size.cost.scan_updates_per_pixel),
        "size_multiple": size.size_multiple,
        "tasks": list(record.tasks),
        "bundled_weights": bundled,
        "paper": record.paper,
    }


def _timed(ids: list[str]) -> dict[str, float]:
    from unveil.bench.model import bench_models

    timings = bench_models(ids, size=256, repeats=3, step=False).timings
    return {timing.id: round(timing.seconds_per_megapixel, 3) for timing in timings}


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    timed = "seconds_per_megapixel" in rows[0]
    numbers = ["parameters", "MAC/px", "scan/px", *(["s/MP"] if timed else []), "multiple"]
    table.add_column("id")
    for heading in numbers:
        table.add_column(heading, justify="right")
    for heading in ("tasks", "weights", "paper"):
        table.add_column(heading)
    for row in rows:
        seconds = [str(row["seconds_per_megapixel"] or "–")] if timed else []
        table.add_row(
            row["id"],
            f"{row['parameters']:,}",
            f"{row['multiply_adds_per_pixel']:,}",
            f"{row['scan_updates_per_pixel']:,}",
            *seconds,
            str(row["size_multiple"]),
            ", ".join(row["tasks"]),
            "bundled" if row["bundled_weights"] else "–",
            row["paper"],
        )
    console = Console()
    # Wrapped ids cannot be copied: better a wide table than a broken one.
    console.width = max(console.width, 130)
    console.print(table)
