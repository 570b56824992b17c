"""Is A better than B? Paired differences over the images, with a confidence interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unveil.errors import DataError, InputError
from unveil.evaluation.images import Case
from unveil.evaluation.report import CaseResult, Report
from unveil.evaluation.seeds import bootstrap_runs, spread_of

# Five images that all go one way do so by chance in 1 of 16 comparisons (two-sided sign test).
FEWEST_IMAGES = 6


@dataclass(frozen=True)
class Difference:
    """A − B of one metric over the images of one case.

    Attributes:
        mean_a: Mean of A.
        mean_b: Mean of B.
        mean: Mean of the differences, above 0 where A is larger.
        low: Lower end of the confidence interval of the mean.
        high: Upper end.
        a_better: Share of images on which A is better; ties count half.
        extremes: The images where B and A win by most, with the difference.
        images: How many were compared.
        left_out: How many were not, because exactly one of their scores is infinite.
        higher_is_better: Whether larger scores are better.
        runs: How many training runs of A and of B were averaged.
        spread_a: Standard deviation over the runs of A of their means; None for a single run.
        spread_b: Likewise of B.
    """

    case: Case
    metric: str
    mean_a: float
    mean_b: float
    mean: float
    low: float
    high: float
    a_better: float
    extremes: tuple[tuple[str, float], tuple[str, float]]
    images: int
    left_out: int
    higher_is_better: bool = True
    runs: tuple[int, int] = (1, 1)
    spread_a: float | None = None
    spread_b: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0, and the images are six or more."""
        return self.images >= FEWEST_IMAGES and (self.low > 0 or self.high < 0)


def compare(
    a: Report | Sequence[Report],
    b: Report | Sequence[Report],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Difference]:
    """Compare two evaluations image by image, or two sets of them over training runs.

    For one report each, the interval is a percentile bootstrap over images (10,000 resamples): it
    says how the mean would vary with other images of this kind, not with other noise or another
    training run. With several reports on a side, those of runs that differ in their seed, it also
    says how the mean would vary with other runs (`unveil.evaluation.seeds.bootstrap_runs`).

    Args:
        a: One report, or one of each training run.
        b: Another, of the same protocol and the same degraded images.
        confidence: Of the interval, between 0 and 1.
        seed: Of the bootstrap.

    Returns:
        PSNR, SSIM and the further metrics of each case, as far as all reports have them.

    Source: Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.

    Raises:
        DataError: The reports are not of the same images under one protocol.
        InputError: `confidence` is not between 0 and 1, or a side has no report.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}: expected a share between 0 and 1")
    sides = [[side] if isinstance(side, Report) else list(side) for side in (a, b)]
    if not all(sides):
        raise InputError("a side of the comparison has no report")
    everyone = [report for side in sides for report in side]
    first = everyone[0]
    for other in everyone[1:]:
        if other.protocol != first.protocol:
            raise DataError(
                f"protocols differ, {first.protocol} and {other.protocol}: numbers do not compare"
            )
    cases = [case.case for case in first.cases]
    shared = [case for case in cases if all(case in _cases(report) for report in everyone)]
    if not shared:
        raise DataError(
            f"{first.model} and {sides[1][0].model} share no noise level or degradation"
        )
    further = [name for name in first.metrics if all(name in r.metrics for r in everyone)]
    differences = []
    for case in shared:
        one, two = ([_cases(report)[case] for report in side] for side in sides)
        for metric in ("psnr", "ssim", *further):
            higher = metric not in further or first.metrics[metric].higher_is_better
            scores = _PairedScores.of(one, two, metric)
            differences.append(scores.difference(case, metric, higher, confidence, seed))
    return differences


def _cases(report: Report) -> dict[Case, CaseResult]:
    return {result.case: result for result in report.cases}


@dataclass(frozen=True)
class _PairedScores:
    """One metric of one case: (runs, images) of both sides, over the images that compare."""

    names: list[str]
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    left_out: int

    @classmethod
    def of(cls, a: Sequence[CaseResult], b: Sequence[CaseResult], metric: str) -> "_PairedScores":
        _require_same_images([*a, *b])
        names = [image.name for image in a[0].images]
        one, two = (np.array([_values(run, metric, names) for run in side]) for side in (a, b))
        both = np.concatenate([one, two])
        # Perfect scores of all are a tie; some infinite ones have no finite difference.
        tie = np.isinf(both).all(0)
        kept = np.isfinite(both).all(0) | tie
        if not kept.any():
            raise DataError(f"{a[0].case.label}: no images with finite differences")
        chosen = [name for name, keep in zip(names, kept, strict=True) if keep]
        return cls(chosen, one[:, kept], two[:, kept], int((~kept).sum()))

    def difference(
        self, case: Case, metric: str, higher_is_better: bool, confidence: float, seed: int
    ) -> Difference:
        tie = np.isinf(self.a[0])
        a, b = (np.where(tie, 0.0, side) for side in (self.a, self.b))
        values = a.mean(0) - b.mean(0)
        single = len(a) == len(b) == 1
        sides = (values[None], np.zeros_like(a)) if single else (a, b)
        low, high = bootstrap_runs(*sides, confidence=confidence, seed=seed)
        worst, best = int(values.argmin()), int(values.argmax())
        won = values > 0 if higher_is_better else values < 0
        return Difference(
            case=case,
            metric=metric,
            mean_a=math.fsum(self.a.mean(0)) / len(values),
            mean_b=math.fsum(self.b.mean(0)) / len(values),
            mean=float(values.mean()),
            low=low,
            high=high,
            a_better=float(won.mean() + (values == 0).mean() / 2),
            extremes=(
                (self.names[worst], float(values[worst])),
                (self.names[best], float(values[best])),
            ),
            images=len(values),
            left_out=self.left_out,
            higher_is_better=higher_is_better,
            runs=(len(a), len(b)),
            spread_a=spread_of(a),
            spread_b=spread_of(b),
        )


def _values(result: CaseResult, metric: str, names: Sequence[str]) -> list[float]:
    by_name = {image.name: image for image in result.images}
    return [
        by_name[name].metrics[metric][0]
        if metric in by_name[name].metrics
        else float(getattr(by_name[name], metric))
        for name in names
    ]


def _require_same_images(results: Sequence[CaseResult]) -> None:
    first = {image.name: image for image in results[0].images}
    for result in results[1:]:
        label = result.case.label
        if {image.name for image in result.images} != set(first):
            raise DataError(f"{label}: the evaluations scored different images")
        for image in result.images:
            # The degraded image's own score shows whether all were given the same thing.
            if not math.isclose(image.input_psnr, first[image.name].input_psnr, abs_tol=1e-9):
                raise DataError(
                    f"{label}: {image.name} was degraded differently; use one --seed and --data"
                )
