"""Metrics beside PSNR and SSIM, by name: registered by a program or brought by plug-ins."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unveil.errors import InputError
from unveil.plugins import Registry

Score = Callable[[NDArray[np.float32], NDArray[np.float32]], float]


@dataclass(frozen=True)
class Metric:
    """One way to compare a restored image with the clean one.

    Attributes:
        name: As given on the command line.
        score: ``score(restored, clean) -> float`` of two ``(h, w, 3)`` float32 RGB images in
            [0, 1]: clipped, and rounded to 8 bits where the protocol says so.
        higher_is_better: Whether larger scores are better.
        about: One line: what it is, and which weights or settings it uses.
        digits: Decimals in tables.
    """

    name: str
    score: Score
    higher_is_better: bool = True
    about: str = ""
    digits: int = 4

    def __call__(self, restored: NDArray[Any], clean: NDArray[Any]) -> float:
        """Score one image.

        Raises:
            InputError: The metric gives no number.
        """
        value: Any = self.score(
            np.ascontiguousarray(restored, np.float32), np.ascontiguousarray(clean, np.float32)
        )
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if np.isnan(number):
            raise InputError(f"the metric {self.name} gives {value!r:.80}, which is no number")
        return number


METRICS = Registry("metric", "unveil.metrics", Metric, lambda metric: metric.name)
Function = TypeVar("Function", bound=Score)


def register_metric(
    name: str,
    *,
    higher_is_better: bool = True,
    about: str = "",
    digits: int = 4,
    replace: bool = False,
) -> Callable[[Function], Function]:
    """Register a metric under a name, as a decorator of the function that computes it.

    From then on `unveil evaluate --metric NAME` and `unveil compare` score by it, beside PSNR and
    SSIM.

    Args:
        name: As given on the command line.
        higher_is_better: Whether larger scores are better.
        about: One line: what it is, and which weights or settings it uses.
        digits: Decimals in tables.
        replace: Whether another registered metric of that name may be replaced.

    Returns:
        What takes the function (see `Metric.score`) and gives it back.

    Raises:
        InputError: The name is taken.

    >>> @register_metric("mae", higher_is_better=False, about="mean absolute error")
    ... def mae(restored, clean):
    ...     return np.abs(restored - clean).mean()
    >>> round(METRICS["mae"](np.full((2, 2, 3), 0.5), np.full((2, 2, 3), 0.25)), 6)
    0.25
    >>> METRICS.unregister("mae")
    """
    if name in ("psnr", "ssim"):
        raise InputError(f"there is a metric {name!r} already; choose another name")

    def decorate(score: Function) -> Function:
        text = about or (score.__doc__ or "").strip().partition("\n")[0]
        METRICS.register(Metric(name, score, higher_is_better, text, digits), replace=replace)
        return score

    return decorate


def metric_named(name: str) -> Metric:
    """Look a metric up.

    Raises:
        InputError: There is none of that name.
    """
    try:
        return METRICS[name]
    except KeyError:
        known = ", ".join(METRICS) or "none registered; see the guide on extensions"
        raise InputError(f"no metric {name!r}; there are: {known}") from None
