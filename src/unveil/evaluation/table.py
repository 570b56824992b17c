"""The table of a report: ours, the degraded input, and what was published."""

from dataclasses import dataclass

from unveil.evaluation.protocols import protocol_named
from unveil.evaluation.published import PublishedResult, PublishedTable, find_published
from unveil.evaluation.report import CaseResult, Report


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        kind: ``"measured"`` here, or ``"published"`` by others.
    """

    method: str
    parameters: str
    cells: tuple[str, ...]
    kind: str


def rows(report: Report) -> list[Row]:
    """Lay out a report's table, one column for each case.

    Returns:
        The degraded input, the model, then the published results of the same protocol and set.
    """
    given = tuple(_cell(case, "input_") for case in report.cases)
    ours = tuple(_cell(case, "") for case in report.cases)
    table = [Row("degraded input", "–", given, "measured")]
    if report.model != "identity":
        table.append(Row(report.model, _count(report.parameters), ours, "measured"))
    published = find_published(report.protocol, report.dataset)
    return table + [_published(result, report) for result in _fitting(published, report)]


def notes(report: Report) -> list[str]:
    """Return what keeps the table's rows from being compared."""
    lines = []
    if report.images_used < report.images_found:
        lines.append(
            f"only the first {report.images_used} of {report.images_found} images were scored"
        )
    published = find_published(report.protocol, report.dataset)
    if published is None or not _fitting(published, report):
        return lines
    if report.images_used != published.images:
        lines.append(
            f"published rows are means of {published.images} images, ours of {report.images_used}:"
            " not to be compared"
        )
    if published.note:
        lines.append(published.note)
    if protocol_named(report.protocol).noise and report.seed != 0:
        lines.append(f"the noise was drawn from seed {report.seed}; the protocol's authors use 0")
    return lines


def to_markdown(report: Report) -> str:
    """Write a report as Markdown: table, protocol, notes."""
    labels = [case.case.label for case in report.cases]
    head = ["method", "parameters", *labels, "source"]
    body = [[row.method, row.parameters, *row.cells, row.kind] for row in rows(report)]
    lines = [
        f"## {report.model} on {report.dataset}, protocol {report.protocol}",
        "",
        *pipe_table(head, body),
        "",
        f"PSNR in dB / SSIM, means of {report.images_used} images. {speed(report)}".rstrip(),
        *(f"Note: {note}." for note in notes(report)),
        "",
        *(["Banding:", "", *pipe_table(*bands_table(report)), ""] if report.patches else []),
        *(["Metrics:", "", *pipe_table(*metrics_table(report)), ""] if report.metrics else []),
        *(f"- {key}: {value}" for key, value in facts(report).items()),
    ]
    return "\n".join(lines) + "\n"


def bands_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Lay out the banding of each patch, rms in levels of 255, one column for each case.

    Returns:
        Head and rows, as `pipe_table` takes them.
    """
    head = ["patch", "method", *(case.case.label for case in report.cases)]
    body = []
    for patch in report.patches:
        pairs = [case.mean_bands(patch) for case in report.cases]
        body.append([patch, "degraded input", *(f"{given:.2f}" for _, given in pairs)])
        if report.model != "identity":
            body.append([patch, report.model, *(f"{ours:.2f}" for ours, _ in pairs)])
    return head, body


def metrics_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Lay out the further metrics, one column for each case.

    Returns:
        Head and rows, as `pipe_table` takes them.
    """
    head = ["metric", "method", *(case.case.label for case in report.cases)]
    body = []
    for name, metric in report.metrics.items():
        label = f"{name} {'↑' if metric.higher_is_better else '↓'}"
        pairs = [case.mean_metric(name) for case in report.cases]
        body.append([label, "degraded input", *(f"{p[1]:.{metric.digits}f}" for p in pairs)])
        if report.model != "identity":
            body.append([label, report.model, *(f"{p[0]:.{metric.digits}f}" for p in pairs)])
    return head, body


def facts(report: Report) -> dict[str, str]:
    """Return how the images were made and scored: the protocol's fields and what the run chose."""
    lines = protocol_named(report.protocol).describe()
    if any(case.case.degradation for case in report.cases):
        lines["data"] = "clean images, degraded as the columns say; seeded by (seed, name)"
    if report.selection:
        lines["files"] = report.selection
    lines["seed"] = str(report.seed)
    for name, metric in report.metrics.items():
        if metric.about:
            lines[name] = metric.about
    return lines


def speed(report: Report) -> str:
    """Return how long the model took; empty for the identity."""
    if report.model == "identity":
        return ""
    seconds = " / ".join(f"{case.seconds_per_megapixel:.2f}" for case in report.cases)
    device, threads = (report.environment.get(key) for key in ("device", "threads"))
    on_cores = f"with {threads} {'thread' if threads == 1 else 'threads'}"
    where = on_cores if device == "cpu" else f"on {device}"
    return f"{seconds} seconds per megapixel {where}."


def pipe_table(head: list[str], body: list[list[str]]) -> list[str]:
    """Lay out a Markdown table with aligned columns.

    Args:
        head: One cell for each column.
        body: As many cells in each row.

    Returns:
        Its lines.

    >>> pipe_table(["a"], [["long"]])
    ['| a    |', '|------|', '| long |']
    """
    table = [[cell.replace("|", "\\|") for cell in line] for line in [head, *body]]
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in table
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _fitting(published: PublishedTable | None, report: Report) -> list[PublishedResult]:
    keys = {case.case.key for case in report.cases}
    results = published.results.values() if published else ()
    return [result for result in results if keys & set(result.scores)]


def _published(result: PublishedResult, report: Report) -> Row:
    cells = (result.scores.get(case.case.key) for case in report.cases)
    texts = tuple(_score(*cell) if cell else "–" for cell in cells)
    return Row(result.method, result.parameters or "–", texts, "published")


def _cell(case: CaseResult, prefix: str) -> str:
    return f"{case.mean(prefix + 'psnr'):.2f} / {case.mean(prefix + 'ssim'):.4f}"


def _score(psnr: float, ssim: float | None = None) -> str:
    return f"{psnr:.2f}" if ssim is None else f"{psnr:.2f} / {ssim:.3f}"


def _count(parameters: int | None) -> str:
    if parameters is None:
        return "–"
    return f"{parameters / 1e6:.2f} M" if parameters >= 1e5 else f"{parameters / 1e3:.1f} k"
