"""A report as one HTML file that needs nothing else: table, worst cases, every image's score."""

import base64
import math
from pathlib import Path

from unveil.evaluation.crops import crop_path
from unveil.evaluation.report import CaseResult, ImageScore, Report
from unveil.evaluation.table import bands_table, facts, metrics_table, notes, rows, speed
from unveil.html import render

_TEMPLATE = Path(__file__).with_name("templates") / "report.html"
_WORST = 6
_OTHERS = 3


def to_html(report: Report, output: Path) -> str:
    """Write a report as a self-contained page.

    Args:
        report: The report.
        output: Folder with the crops that `evaluate` kept; they are put into the page.

    Returns:
        The page's text.
    """

    def png(case: CaseResult, image: ImageScore) -> str:
        file = crop_path(output, case.case.key, image.name)
        return base64.b64encode(file.read_bytes()).decode()

    return render(
        _TEMPLATE,
        report=report,
        rows=rows(report),
        speed=speed(report),
        notes=notes(report),
        tables={
            **({"Banding": bands_table(report)} if report.patches else {}),
            **({"Metrics": metrics_table(report)} if report.metrics else {}),
        },
        protocol=facts(report),
        gain=_gain,
        javascript=_javascript,
        png=png,
        shown=_shown,
    )


def _shown(case: CaseResult) -> dict[str, list[ImageScore]]:
    """Choose the images whose crops are shown, by heading."""
    by_score = sorted(case.images, key=lambda image: image.psnr)
    worst, rest = by_score[:_WORST], by_score[_WORST:]
    middle = len(rest) // 2
    others = {id(i): i for i in (*rest[middle : middle + _OTHERS], *rest[-_OTHERS:])}.values()
    return {"Worst images": worst, "Middling and best images": list(others)}


def _gain(image: ImageScore) -> float:
    both_perfect = math.isinf(image.psnr) and math.isinf(image.input_psnr)
    return 0.0 if both_perfect else image.psnr - image.input_psnr


def _javascript(value: float) -> str:
    """Write a number as JavaScript reads it."""
    return repr(value).replace("inf", "Infinity")
