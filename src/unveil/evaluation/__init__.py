"""Evaluation by named protocols: protocol × images × method → report."""

from unveil.evaluation.compare import Difference, compare
from unveil.evaluation.compare_table import comparison_to_json, comparison_to_markdown
from unveil.evaluation.files import TestSet, find_test_set
from unveil.evaluation.images import Case, EvaluationImage, evaluation_images, make_cases
from unveil.evaluation.methods import (
    Identity,
    Method,
    NetworkMethod,
    NonLocalMeans,
    load_method,
    load_restorer,
)
from unveil.evaluation.patches import Patch, parse_patch
from unveil.evaluation.protocols import PROTOCOLS, Protocol, PsnrSsim, Scores, protocol_named
from unveil.evaluation.report import CaseResult, ImageScore, Report
from unveil.evaluation.report_files import write_report
from unveil.evaluation.runner import evaluate
from unveil.evaluation.table import to_markdown

__all__ = [
    "PROTOCOLS",
    "Case",
    "CaseResult",
    "Difference",
    "EvaluationImage",
    "Identity",
    "ImageScore",
    "Method",
    "NetworkMethod",
    "NonLocalMeans",
    "Patch",
    "Protocol",
    "PsnrSsim",
    "Report",
    "Scores",
    "TestSet",
    "compare",
    "comparison_to_json",
    "comparison_to_markdown",
    "evaluate",
    "evaluation_images",
    "find_test_set",
    "load_method",
    "load_restorer",
    "make_cases",
    "parse_patch",
    "protocol_named",
    "to_markdown",
    "write_report",
]
