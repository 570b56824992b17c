"""Runs that take turns, so that all of them see the same state of the machine."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Timed = Callable[[], Any]


@dataclass(frozen=True)
class Measured:
    """Base of what benchmarks return."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values that fit into JSON."""
        return asdict(self)


def take_turns(
    runs: Mapping[str, Timed], repeats: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Time every run once per turn.

    Args:
        runs: By name.
        repeats: Turns.
        warm_up: Call each once before.

    Returns:
        Seconds of each turn, by name.
    """
    for run in runs.values() if warm_up else ():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(own: Sequence[float], other: Sequence[float]) -> float:
    """Return the median over the turns of one run's time over another's.

    Args:
        own: Seconds of each turn.
        other: Likewise.

    >>> median_ratio([1.0, 2.0, 6.0], [1.0, 1.0, 2.0])
    2.0
    """
    return statistics.median(a / b for a, b in zip(own, other, strict=True))
