"""A report as one HTML file that needs nothing else: table, worst cases, every image's score."""

import base64
import math
from html import escape
from pathlib import Path

from unveil.evaluation.crops import crop_path
from unveil.evaluation.report import CaseResult, ImageScore, Report
from unveil.evaluation.table import Row, bands_table, facts, metrics_table, notes, rows, speed

_WORST = 6
_OTHERS = 3

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --published: #888; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
th.sortable { cursor: pointer; }
tr.published { color: var(--published); font-style: italic; }
tr.model { font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dd { margin: 0; }
.crops { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; }
figure img { image-rendering: pixelated; max-width: 100%; }
figcaption { font-size: 13px; }
.scroll { overflow-x: auto; }
"""

# Click a column's head to sort by it; each cell holds its number in data-value.
_SCRIPT = """
document.querySelectorAll("th.sortable").forEach((head) => head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const sign = head.dataset.sign = head.dataset.sign === "1" ? "-1" : "1";
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  [...body.rows].sort((a, b) => sign * (isNaN(value(a)) || isNaN(value(b))
    ? value(a).localeCompare(value(b)) : value(a) - value(b))).forEach((row) => body.append(row));
}));
"""


def to_html(report: Report, output: Path) -> str:
    """Write a report as a self-contained page.

    Args:
        report: The report.
        output: Folder with the crops that `evaluate` kept; they are put into the page.

    Returns:
        The page's text.
    """
    title = f"{report.model} on {report.dataset}, protocol {report.protocol}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _table(report),
        f"<p>PSNR in dB / SSIM, means of {report.images_used} images. {escape(speed(report))}</p>",
        *(f"<p><strong>Note:</strong> {escape(note)}.</p>" for note in notes(report)),
        "<p>Rows in italics were published by others and not measured here.</p>",
        *(["<h2>Banding</h2>", _plain_table(*bands_table(report))] if report.patches else []),
        *(["<h2>Metrics</h2>", _plain_table(*metrics_table(report))] if report.metrics else []),
        "<h2>Protocol</h2>",
        _facts(facts(report)),
        *(_case(case, output) for case in report.cases),
        "<h2>Run</h2>",
        _facts({**_about(report), **{k: str(v) for k, v in report.environment.items()}}),
    ]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n<body>\n{body}\n<script>{_SCRIPT}</script>\n</body></html>\n"
    )


def _table(report: Report) -> str:
    labels = "".join(f"<th>{escape(case.case.label)}</th>" for case in report.cases)
    head = f"<tr><th>method</th><th>parameters</th>{labels}<th>source</th></tr>"
    lines = [_row(row, row.method == report.model) for row in rows(report)]
    return f'<div class="scroll"><table>{head}{"".join(lines)}</table></div>'


def _row(row: Row, is_model: bool) -> str:
    kind = "model" if is_model else row.kind
    cells = (row.method, row.parameters, *row.cells, row.kind)
    return f'<tr class="{kind}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'


def _plain_table(head: list[str], body: list[list[str]]) -> str:
    first = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rest = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in body
    )
    return f'<div class="scroll"><table><tr>{first}</tr>{rest}</table></div>'


def _about(report: Report) -> dict[str, str]:
    return {
        "weights": report.digest or "none",
        "images": f"{report.images_used} of {report.images_found}, digest {report.files_digest}",
    }


def _facts(values: dict[str, str]) -> str:
    lines = (f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in values.items())
    return f"<dl>{''.join(lines)}</dl>"


def _case(result: CaseResult, output: Path) -> str:
    by_score = sorted(result.images, key=lambda image: image.psnr)
    worst, rest = by_score[:_WORST], by_score[_WORST:]
    middle = len(rest) // 2
    others = {id(i): i for i in (*rest[middle : middle + _OTHERS], *rest[-_OTHERS:])}.values()
    return (
        f"<h2>{escape(result.case.label)}</h2>"
        "<p>Where the output is furthest from clean: degraded, restored, clean.</p>"
        f"<h3>Worst images</h3>{_crops(result, worst, output)}"
        f"<h3>Middling and best images</h3>{_crops(result, list(others), output)}"
        f"<h3>All images</h3>{_scores(result)}"
    )


def _crops(result: CaseResult, images: list[ImageScore], output: Path) -> str:
    figures = []
    for image in images:
        path = crop_path(output, result.case.key, image.name)
        data = base64.b64encode(path.read_bytes()).decode()
        caption = escape(f"{image.name}: {image.input_psnr:.2f} → {image.psnr:.2f} dB")
        figures.append(
            f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return f'<div class="crops">{"".join(figures)}</div>'


def _scores(result: CaseResult) -> str:
    names = ("image", "size", "input PSNR", "PSNR", "gain", "input SSIM", "SSIM", "seconds")
    head = "".join(f'<th class="sortable">{name}</th>' for name in names)
    body = "".join(_score(image) for image in result.images)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _score(image: ImageScore) -> str:
    both_perfect = math.isinf(image.psnr) and math.isinf(image.input_psnr)
    gain = 0.0 if both_perfect else image.psnr - image.input_psnr
    numbers = (
        (f"{image.width}×{image.height}", image.width * image.height),
        (f"{image.input_psnr:.2f}", image.input_psnr),
        (f"{image.psnr:.2f}", image.psnr),
        (f"{gain:+.2f}", gain),
        (f"{image.input_ssim:.4f}", image.input_ssim),
        (f"{image.ssim:.4f}", image.ssim),
        (f"{image.seconds:.2f}", image.seconds),
    )
    cells = "".join(f'<td data-value="{_number(value)}">{text}</td>' for text, value in numbers)
    return f"<tr><td>{escape(image.name)}</td>{cells}</tr>"


def _number(value: float) -> str:
    """Write a number as JavaScript reads it."""
    return repr(value).replace("inf", "Infinity")
