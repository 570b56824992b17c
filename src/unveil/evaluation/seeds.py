"""Confidence intervals over images and over training runs that differ in their seed alone."""

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 10_000
_PART = 500


def bootstrap_runs(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    *,
    confidence: float,
    seed: int,
    resamples: int = _RESAMPLES,
) -> tuple[float, float]:
    """Estimate a confidence interval of the difference of means, A − B, over images and runs.

    Images are resampled for both sides together, runs of each side by themselves. A side's few
    runs are spread by sqrt(k / (k − 1)) about their mean first, as k runs vary less about their own
    mean than about the true one; a single run says nothing about others and is not varied.

    Args:
        a: ``(k_a, n)`` scores of each run of A on each image.
        b: ``(k_b, n)``, the same images.
        confidence: Between 0 and 1.
        seed: Of the resampling.
        resamples: How many differences are drawn.

    Returns:
        Lower and upper end, percentiles of the resampled differences.

    Source: Rao, Wu, "Resampling inference with complex survey data", JASA 83, 1988 (rescaling);
        Bouthillier et al., "Accounting for variance in machine learning benchmarks", MLSys 2021.

    >>> bootstrap_runs(np.full((3, 5), 2.0), np.full((2, 5), 1.5), confidence=0.95, seed=0)
    (0.5, 0.5)
    """
    rng = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for start in range(0, resamples, _PART):  # in parts: memory stays small for large sets
        count = min(_PART, resamples - start)
        images = rng.integers(a.shape[1], size=(count, a.shape[1]))
        one, other = (_resampled(side[:, images].mean(2), rng) for side in (a, b))
        differences[start : start + count] = one - other
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _resampled(means: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Average resampled runs; `means` is (k, resamples), each run's mean over the images."""
    runs, count = means.shape
    centre = means.mean(0)
    if runs == 1:
        return np.asarray(centre, np.float64)
    spread = (means - centre) * (runs / (runs - 1)) ** 0.5
    drawn = rng.integers(runs, size=(runs, count))
    resampled: NDArray[np.float64] = centre + np.take_along_axis(spread, drawn, axis=0).mean(0)
    return resampled


def spread_of(scores: NDArray[np.float64]) -> float | None:
    """Return the deviation between the means of k runs' scores ``(k, n)``; None for one run."""
    return float(scores.mean(1).std(ddof=1)) if len(scores) > 1 else None
