"""Metrics beside a protocol's PSNR and SSIM: those that were registered or come by plug-ins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unveil.errors import InputError
from unveil.evaluation.protocols import Image
from unveil.metrics import Metric

# By the metric's name: scores of the restored and of the degraded image.
MetricScores = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class MetricFacts:
    """What a report states about a metric, so that it can be read without the plug-in."""

    higher_is_better: bool
    about: str
    digits: int


def facts_of(metrics: Sequence[Metric]) -> dict[str, MetricFacts]:
    """Return what a report states about metrics, by name.

    Raises:
        InputError: One is given twice.
    """
    if len({metric.name for metric in metrics}) < len(metrics):
        raise InputError("a metric is given twice")
    return {
        metric.name: MetricFacts(metric.higher_is_better, metric.about, metric.digits)
        for metric in metrics
    }


def measure(
    metrics: Sequence[Metric], restored: Image, degraded: Image, clean: Image
) -> MetricScores:
    """Score an image by metrics.

    Args:
        metrics: From `unveil.metrics.metric_named`.
        restored: ``(h, w, 3)`` from `Protocol.as_scored`.
        degraded: Same shape.
        clean: Same shape.

    Raises:
        InputError: A metric gives no number.
    """
    return {metric.name: (metric(restored, clean), metric(degraded, clean)) for metric in metrics}


def mean_scores(
    scores: Sequence[Mapping[str, tuple[float, float]]], name: str
) -> tuple[float, ...]:
    """Average a metric over images.

    Args:
        scores: Of each image.
        name: Of the metric.

    Returns:
        Means of the restored and of the degraded images.
    """
    return tuple(float(value) for value in np.mean([score[name] for score in scores], axis=0))
