"""A comparison as Markdown and JSON."""

from dataclasses import asdict
from typing import Any

from unveil.evaluation.compare import FEWEST_IMAGES, Difference
from unveil.evaluation.report import Report, finite_or_none
from unveil.evaluation.table import pipe_table

_DIGITS = {"psnr": 3, "ssim": 5}
_UNITS = {"psnr": "PSNR, dB", "ssim": "SSIM"}


def comparison_to_markdown(
    a: Report, b: Report, differences: list[Difference], *, confidence: float
) -> str:
    """Write the differences of two reports as Markdown.

    Args:
        a: One report.
        b: The other.
        differences: From `compare`.
        confidence: That they were made with.
    """
    interval = f"{confidence:.0%} interval"
    head = ["case", "metric", "A", "B", "A − B", interval, "A better on", "verdict"]
    body = [_line(difference) for difference in differences]
    extremes = (_extremes(d) for d in differences if d.metric == "psnr")
    lines = [
        f"## A = {a.model}, B = {b.model}: {a.dataset}, protocol {a.protocol}",
        "",
        *pipe_table(head, body),
        "",
        f"Paired over {differences[0].images} images; percentile bootstrap of the mean.",
        *extremes,
    ]
    left_out = max(difference.left_out for difference in differences)
    if left_out:
        lines.append(f"Note: {left_out} images were left out: one of their scores is infinite.")
    return "\n".join(lines) + "\n"


def comparison_to_json(
    a: Report, b: Report, differences: list[Difference], *, confidence: float
) -> dict[str, Any]:
    """Return the differences of two reports as plain values.

    Args:
        a: One report.
        b: The other.
        differences: From `compare`.
        confidence: That they were made with.
    """
    return {
        "a": {"model": a.model, "digest": a.digest},
        "b": {"model": b.model, "digest": b.digest},
        "protocol": a.protocol,
        "dataset": a.dataset,
        "confidence": confidence,
        "differences": [_plain(difference) for difference in differences],
    }


def _plain(difference: Difference) -> dict[str, Any]:
    values = {key: finite_or_none(value) for key, value in asdict(difference).items()}
    return {**values, "significant": difference.significant}


def _line(difference: Difference) -> list[str]:
    digits = _DIGITS[difference.metric]
    return [
        difference.case.label,
        _UNITS[difference.metric],
        f"{difference.mean_a:.{digits}f}",
        f"{difference.mean_b:.{digits}f}",
        f"{difference.mean:+.{digits}f}",
        f"{difference.low:+.{digits}f} … {difference.high:+.{digits}f}",
        f"{difference.a_better:.0%} of images",
        _verdict(difference),
    ]


def _verdict(difference: Difference) -> str:
    if difference.significant:
        return "A is better" if difference.mean > 0 else "B is better"
    return "too few images" if difference.images < FEWEST_IMAGES else "undecided"


def _extremes(difference: Difference) -> str:
    (worst, lowest), (best, highest) = difference.extremes
    return (
        f"{difference.case.label}: A − B is lowest on {worst} ({lowest:+.2f} dB) and highest on"
        f" {best} ({highest:+.2f} dB)."
    )
