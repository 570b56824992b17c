"""Metrics beside a protocol's PSNR and SSIM: those that were registered or come by plug-ins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unveil.errors import InputError
from unveil.evaluation.protocols import Image, Protocol
from unveil.metrics import Metric

# By the metric's name: scores of the restored and of the degraded image.
MetricScores = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class MetricFacts:
    """What a report says of a metric, so that it can be read without the plug-in."""

    higher_is_better: bool
    about: str
    digits: int


def facts_of(metrics: Sequence[Metric]) -> dict[str, MetricFacts]:
    """Return what a report says of metrics, by name.

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
    metrics: Sequence[Metric], protocol: Protocol, restored: Image, degraded: Image, clean: Image
) -> MetricScores:
    """Score an image by metrics, as the protocol's files would hold it: RGB, clipped, rounded.

    Args:
        metrics: From `unveil.metrics.metric_named`.
        protocol: Says whether images are rounded first.
        restored: ``(h, w, 3)``, nominally [0, 1].
        degraded: Same shape.
        clean: Same shape.

    Raises:
        InputError: A metric gives no number.
    """
    if not metrics:
        return {}
    ours, given, truth = (protocol.as_scored(image) for image in (restored, degraded, clean))
    return {metric.name: (metric(ours, truth), metric(given, truth)) for metric in metrics}


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
