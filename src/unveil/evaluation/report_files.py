"""Write a report's three forms: JSON, Markdown and HTML."""

import json
from pathlib import Path

from unveil.evaluation.html_report import to_html
from unveil.evaluation.protocols import protocol_named
from unveil.evaluation.report import Report
from unveil.evaluation.table import to_markdown
from unveil.imaging.atomic import write_text


def write_report(report: Report, output: Path) -> None:
    """Write ``results.json``, ``report.md`` and ``report.html``.

    Args:
        report: The report.
        output: Folder that `evaluate` kept scores and crops in.

    Raises:
        OutputError: A file cannot be written.
    """
    plain = report.to_json(protocol_named(report.protocol).fields())
    texts = {
        "results.json": json.dumps(plain, indent=2) + "\n",
        "report.md": to_markdown(report),
        "report.html": to_html(report, output),
    }
    for name, text in texts.items():
        # Names of images need not be UTF-8; a page or a JSON file must be.
        write_text(output / name, text, errors="backslashreplace")
