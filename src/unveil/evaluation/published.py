"""Published results, to stand beside ours under the same protocol and marked as published.

All were taken from the methods' papers or from later papers that cite them; none was measured here.
``published.csv`` holds them, one score a line, methods from older to newer.
"""

import csv
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_NOTES = {
    ("gaussian-color", "kodak24"): (
        "some papers use 500×500 centre crops of Kodak24 (FFDNet's copy), some the full 768×512 "
        "images"
    )
}


@dataclass(frozen=True)
class PublishedResult:
    """A method's scores on a set.

    Attributes:
        method: With what its authors state about it.
        parameters: As published; empty where not stated.
        scores: Case key → PSNR, or PSNR and SSIM.
    """

    method: str
    parameters: str
    scores: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class PublishedTable:
    """The published results for one set under one protocol.

    Attributes:
        images: How many images they are means of.
        note: Other conditions of the numbers; empty if none.
        results: By method, from older to newer.
    """

    images: int
    note: str = ""
    results: dict[str, PublishedResult] = field(default_factory=dict)


def find_published(protocol: str, dataset: str) -> PublishedTable | None:
    """Return the published results for a set under a protocol, None where there are none.

    Args:
        protocol: Its name.
        dataset: Name of the folder, in any spelling: ``CBSD68``, ``Rain100L/test``.

    >>> find_published("gaussian-color", "CBSD68").results["CBM3D"].scores["sigma25"]
    (30.71,)
    >>> find_published("paired-rgb", "CBSD68") is None
    True
    """
    name = re.sub(r"[^a-z0-9]", "", dataset.lower().removesuffix("/test"))
    return published_tables().get((protocol, name.removesuffix("outdoor")))


@cache
def published_tables() -> dict[tuple[str, str], PublishedTable]:
    """Return all published results, by protocol and set."""
    tables: dict[tuple[str, str], PublishedTable] = {}
    with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = row["protocol"], row["set"]
            new = PublishedTable(int(row["images"]), _NOTES.get(key, ""))
            results = tables.setdefault(key, new).results
            method = row["method"]
            result = results.setdefault(method, PublishedResult(method, row["parameters"]))
            scores = (float(row[name]) for name in ("psnr", "ssim") if row[name])
            result.scores[row["case"]] = tuple(scores)
    return tables
