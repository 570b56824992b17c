"""Is A better than B? Paired differences over the images, with a confidence interval."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unveil.errors import DataError, InputError
from unveil.evaluation.report import CaseResult, Report
from unveil.evaluation.samples import Case

Metric = Literal["psnr", "ssim"]
_RESAMPLES = 10_000
# Five images that all go one way do so by chance in 1 of 16 comparisons (two-sided sign test).
FEWEST_IMAGES = 6


@dataclass(frozen=True)
class Difference:
    """A − B of one metric over the images of one case.

    Attributes:
        mean_a: Mean of A.
        mean_b: Mean of B.
        mean: Mean of the differences, above 0 where A is better.
        low: Lower end of the confidence interval of the mean.
        high: Upper end.
        a_better: Share of images on which A is better; ties count half.
        extremes: The images where B and A win by most, with the difference.
        images: How many were compared.
        left_out: How many were not, because exactly one of their scores is infinite.
    """

    case: Case
    metric: Metric
    mean_a: float
    mean_b: float
    mean: float
    low: float
    high: float
    a_better: float
    extremes: tuple[tuple[str, float], tuple[str, float]]
    images: int
    left_out: int

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0, and the images are six or more."""
        return self.images >= FEWEST_IMAGES and (self.low > 0 or self.high < 0)


def compare(a: Report, b: Report, *, confidence: float = 0.95, seed: int = 0) -> list[Difference]:
    """Compare two evaluations image by image.

    The interval is a percentile bootstrap over images (10,000 resamples): it says how the mean
    would vary with other images of this kind, not with other noise or another training run.

    Args:
        a: One report.
        b: Another, of the same protocol and the same degraded images.
        confidence: Of the interval, between 0 and 1.
        seed: Of the bootstrap.

    Returns:
        PSNR and SSIM of each case that both reports have.

    Source: Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.

    Raises:
        DataError: The reports are not of the same images under one protocol.
        InputError: `confidence` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}: expected a share between 0 and 1")
    if a.protocol != b.protocol:
        raise DataError(f"protocols differ, {a.protocol} and {b.protocol}: numbers do not compare")
    others = {result.case: result for result in b.cases}
    shared = [(result, others[result.case]) for result in a.cases if result.case in others]
    if not shared:
        raise DataError(f"{a.model} and {b.model} share no noise level or degradation")
    metrics: tuple[Metric, ...] = ("psnr", "ssim")
    return [
        _difference(first, second, metric, confidence, seed)
        for first, second in shared
        for metric in metrics
    ]


def bootstrap_mean(
    values: NDArray[np.float64], *, confidence: float, seed: int, resamples: int = _RESAMPLES
) -> tuple[float, float]:
    """Estimate a confidence interval of the mean of `values` by resampling them.

    Args:
        values: (n,) any unit.
        confidence: Between 0 and 1.
        seed: Of the resampling.
        resamples: How many means are drawn.

    Returns:
        Lower and upper end, percentiles of the resampled means.

    >>> bootstrap_mean(np.full(5, 2.0), confidence=0.95, seed=0)
    (2.0, 2.0)
    """
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, 500):  # in parts: memory stays small for large sets
        stop = min(start + 500, resamples)
        means[start:stop] = values[
            rng.integers(len(values), size=(stop - start, len(values)))
        ].mean(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _difference(
    a: CaseResult, b: CaseResult, metric: Metric, confidence: float, seed: int
) -> Difference:
    scores = _paired(a, b, metric)
    # Two perfect scores are a tie; one infinite score has no finite difference.
    kept = [s for s in scores if math.isinf(s[1]) == math.isinf(s[2])]
    if not kept:
        raise DataError(f"{a.case.label}: no images with finite differences")
    values = np.array([0.0 if first == second else first - second for _, first, second in kept])
    low, high = bootstrap_mean(values, confidence=confidence, seed=seed)
    worst, best = int(values.argmin()), int(values.argmax())
    return Difference(
        case=a.case,
        metric=metric,
        mean_a=math.fsum(s[1] for s in kept) / len(kept),
        mean_b=math.fsum(s[2] for s in kept) / len(kept),
        mean=float(values.mean()),
        low=low,
        high=high,
        a_better=float((values > 0).mean() + (values == 0).mean() / 2),
        extremes=((kept[worst][0], float(values[worst])), (kept[best][0], float(values[best]))),
        images=len(kept),
        left_out=len(scores) - len(kept),
    )


def _paired(a: CaseResult, b: CaseResult, metric: Metric) -> list[tuple[str, float, float]]:
    partners = {image.name: image for image in b.images}
    if set(partners) != {image.name for image in a.images}:
        raise DataError(f"{a.case.label}: the two evaluations scored different images")
    for image in a.images:
        # The degraded image's own score tells whether both were shown the same thing.
        if not math.isclose(image.input_psnr, partners[image.name].input_psnr, abs_tol=1e-9):
            raise DataError(
                f"{a.case.label}: {image.name} was degraded differently; use one --seed and --data"
            )
    return [(i.name, getattr(i, metric), getattr(partners[i.name], metric)) for i in a.images]
