"""Scores that mean what they say: protocol × images × restorer → report."""

from unveil.evaluation.compare import Difference, compare
from unveil.evaluation.compare_table import comparison_to_json, comparison_to_markdown
from unveil.evaluation.files import TestSet, find_test_set
from unveil.evaluation.patches import Patch, parse_patch
from unveil.evaluation.protocols import PROTOCOLS, Protocol, Scores, protocol_named
from unveil.evaluation.report import CaseResult, ImageScore, Report
from unveil.evaluation.restorers import Identity, Network, NonLocalMeans, Restorer, load_restorer
from unveil.evaluation.runner import evaluate
from unveil.evaluation.samples import Case, Sample, make_cases, samples
from unveil.evaluation.table import to_markdown
from unveil.evaluation.write import write_report

__all__ = [
    "PROTOCOLS",
    "Case",
    "CaseResult",
    "Difference",
    "Identity",
    "ImageScore",
    "Network",
    "NonLocalMeans",
    "Patch",
    "Protocol",
    "Report",
    "Restorer",
    "Sample",
    "Scores",
    "TestSet",
    "compare",
    "comparison_to_json",
    "comparison_to_markdown",
    "evaluate",
    "find_test_set",
    "load_restorer",
    "make_cases",
    "parse_patch",
    "protocol_named",
    "samples",
    "to_markdown",
    "write_report",
]
