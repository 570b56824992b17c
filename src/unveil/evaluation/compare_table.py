"""A comparison as Markdown and JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from unveil.evaluation.compare import FEWEST_IMAGES, Difference
from unveil.evaluation.report import Report, finite_or_none
from unveil.evaluation.table import pipe_table

_DIGITS = {"psnr": 3, "ssim": 5}
_UNITS = {"psnr": "PSNR, dB", "ssim": "SSIM"}


def comparison_to_markdown(
    a: Report | Sequence[Report],
    b: Report | Sequence[Report],
    differences: list[Difference],
    *,
    confidence: float,
) -> str:
    """Write the differences of two reports as Markdown.

    Args:
        a: One report, or one of each training run.
        b: The other side.
        differences: From `compare`.
        confidence: That they were made with.
    """
    one, two = _sides(a, b)
    several = len(one) + len(two) > 2
    runs = f"{len(one)} of A, {len(two)} of B"
    interval = f"{confidence:.0%} interval"
    head = ["case", "metric", "A", "B", "A − B", interval, "A better on", "verdict"]
    body = [_line(difference) for difference in differences]
    extremes = (_extremes(d) for d in differences if d.metric == "psnr")
    lines = [
        f"## A = {_names(one)}, B = {_names(two)}: {one[0].dataset}, protocol {one[0].protocol}",
        "",
        *pipe_table(head, body),
        "",
        f"Paired over {differences[0].images} images; percentile bootstrap of the mean"
        + (f" over images and training runs ({runs})." if several else "."),
        *(_spreads(d) for d in differences if several and d.metric == "psnr"),
        *extremes,
    ]
    left_out = max(difference.left_out for difference in differences)
    if left_out:
        lines.append(f"Note: {left_out} images were left out: one of their scores is infinite.")
    return "\n".join(lines) + "\n"


def comparison_to_json(
    a: Report | Sequence[Report],
    b: Report | Sequence[Report],
    differences: list[Difference],
    *,
    confidence: float,
) -> dict[str, Any]:
    """Return what `comparison_to_markdown` writes as plain values."""
    one, two = _sides(a, b)
    return {
        "a": _plain_side(one),
        "b": _plain_side(two),
        "protocol": one[0].protocol,
        "dataset": one[0].dataset,
        "confidence": confidence,
        "differences": [_plain(difference) for difference in differences],
    }


def _sides(
    a: Report | Sequence[Report], b: Report | Sequence[Report]
) -> tuple[list[Report], list[Report]]:
    one, two = ([side] if isinstance(side, Report) else list(side) for side in (a, b))
    return one, two


def _names(reports: Sequence[Report]) -> str:
    more = f" and {len(reports) - 1} more" if len(reports) > 1 else ""
    return reports[0].model + more


def _plain_side(reports: Sequence[Report]) -> dict[str, Any]:
    first = {"model": reports[0].model, "digest": reports[0].digest}
    if len(reports) == 1:
        return first
    return {**first, "runs": [{"model": r.model, "digest": r.digest} for r in reports]}


def _spreads(difference: Difference) -> str:
    def text(spread: float | None) -> str:
        return "unknown (a single run)" if spread is None else f"{spread:.3f} dB"

    a, b = text(difference.spread_a), text(difference.spread_b)
    return f"{difference.case.label}: standard deviation over runs: A {a}, B {b}."


def _plain(difference: Difference) -> dict[str, Any]:
    values = {key: finite_or_none(value) for key, value in asdict(difference).items()}
    return {**values, "significant": difference.significant}


def _line(difference: Difference) -> list[str]:
    digits = _DIGITS.get(difference.metric, 5)
    arrow = "" if difference.higher_is_better else " ↓"
    return [
        difference.case.label,
        _UNITS.get(difference.metric, difference.metric + arrow),
        f"{difference.mean_a:.{digits}f}",
        f"{difference.mean_b:.{digits}f}",
        f"{difference.mean:+.{digits}f}",
        f"{difference.low:+.{digits}f} … {difference.high:+.{digits}f}",
        f"{difference.a_better:.0%} of images",
        _verdict(difference),
    ]


def _verdict(difference: Difference) -> str:
    if difference.significant:
        a_better = (difference.mean > 0) == difference.higher_is_better
        return "A is better" if a_better else "B is better"
    return "too few images" if difference.images < FEWEST_IMAGES else "undecided"


def _extremes(difference: Difference) -> str:
    (worst, lowest), (best, highest) = difference.extremes
    return (
        f"{difference.case.label}: A − B is lowest on {worst} ({lowest:+.2f} dB) and highest on"
        f" {best} ({highest:+.2f} dB)."
    )
