"""Time the restoring of photographs: networks, the convolution yardstick, non-local means."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from unveil.bench.machine import describe_machine
from unveil.bench.model import YARDSTICK, peak_mebibytes
from unveil.bench.turns import Measured, median_ratio, take_turns
from unveil.bench.yardstick import ConvolutionYardstick
from unveil.errors import InputError
from unveil.evaluation.methods import NonLocalMeans
from unveil.imaging.convert import to_unit
from unveil.inference import Restorer
from unveil.models.checkpoint import bundled_weights
from unveil.models.registry import create_model
from unveil.process import keep_freed_memory

NON_LOCAL_MEANS = "nlm"
MEGAPIXELS = (0.25, 1.0, 4.0, 24.0)

Contender = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class RestoreTiming:
    """What one contender takes for one size.

    Attributes:
        id: The model, `YARDSTICK` or `NON_LOCAL_MEANS`.
        megapixels: Size of the picture.
        seconds_per_megapixel: Median over the turns; None when it was left out.
        ratio: Median over the turns of its time over the yardstick's of the same turn.
        peak_mebibytes: Memory beyond what was there before; None where it cannot be read.
        left_out: Why it was not timed.
    """

    id: str
    megapixels: float
    seconds_per_megapixel: float | None = None
    ratio: float | None = None
    peak_mebibytes: float | None = None
    left_out: str = ""


@dataclass(frozen=True)
class RestoreBench(Measured):
    """Timings of one run, with where and how they were taken."""

    machine: dict[str, Any]
    repeats: int
    threads: int
    timings: tuple[RestoreTiming, ...]


def bench_restore(
    ids: Sequence[str] = ("cu_mamba_small", "mtair_small"),
    *,
    megapixels: Sequence[float] = MEGAPIXELS,
    repeats: int = 3,
    limit: float = 300.0,
) -> RestoreBench:
    """Time the restoring of 8-bit pictures in memory, everything but decoding and encoding.

    All contenders take turns on the same picture. Those whose speed on the size before says that a
    pass takes longer than `limit` are left out, and the result says so.

    Args:
        ids: Models; bundled weights where there are some, else random ones, which cost the same.
        megapixels: Sizes, ascending.
        repeats: Turns.
        limit: Seconds.

    Raises:
        InputError: If a size or the number of turns is not positive, or a model is unknown.
    """
    keep_freed_memory()
    if repeats < 1 or not megapixels or min(megapixels) <= 0:
        raise InputError(f"needs sizes above 0 and a turn, got {list(megapixels)} and {repeats}")
    runs = _contenders(ids)
    timings: list[RestoreTiming] = []
    speed: dict[str, float] = {}
    for size in sorted(megapixels):
        slow = {name for name, seconds in speed.items() if seconds * size > limit}
        chosen = {name: run for name, run in runs.items() if name not in slow}
        measured = _measure(chosen, size, repeats)
        speed |= {t.id: t.seconds_per_megapixel for t in measured if t.seconds_per_megapixel}
        timings += measured
        reason = f"would take longer than {limit:g} s"
        timings += [RestoreTiming(name, size, left_out=reason) for name in runs if name in slow]
    return RestoreBench(describe_machine(), repeats, torch.get_num_threads(), tuple(timings))


def _contenders(ids: Sequence[str]) -> dict[str, Contender]:
    runs: dict[str, Contender] = {YARDSTICK: Restorer(ConvolutionYardstick())}
    for name in ids:
        runs[name] = Restorer(create_model(name, pretrained=name in bundled_weights()))
    non_local_means = NonLocalMeans()
    runs[NON_LOCAL_MEANS] = lambda pixels: non_local_means(to_unit(pixels), 25.0)
    return runs


def _measure(runs: dict[str, Contender], megapixels: float, repeats: int) -> list[RestoreTiming]:
    height = max(round((megapixels * 1e6 / 1.5) ** 0.5), 1)
    width = max(round(megapixels * 1e6 / height), 1)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    calls = {name: partial(_discard, run, pixels) for name, run in runs.items()}
    peaks = {name: peak_mebibytes(call) for name, call in calls.items()}
    seconds = take_turns(calls, repeats, warm_up=False)
    size = height * width / 1e6
    return [
        RestoreTiming(
            name,
            megapixels,
            seconds_per_megapixel=statistics.median(taken) / size,
            ratio=median_ratio(taken, seconds[YARDSTICK]) if YARDSTICK in seconds else None,
            peak_mebibytes=peaks[name],
        )
        for name, taken in seconds.items()
    ]


def _discard(run: Contender, pixels: np.ndarray[Any, Any]) -> None:
    run(pixels)
