"""Time exported networks in ONNX Runtime beside the native pass: one run, taking turns."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import unveil
from unveil.bench.against import running_build, source_of
from unveil.bench.machine import describe_machine
from unveil.bench.turns import Measured
from unveil.export.graph_modules import restoration_model
from unveil.export.onnx import build_whole
from unveil.export.parity import open_session
from unveil.inference.loading import load
from unveil.models.base import count_parameters


@dataclass(frozen=True)
class ExportTiming:
    """What one exported network takes.

    Attributes:
        id: The model.
        seconds: Median of a pass in ONNX Runtime.
        native_seconds: Median of a native pass.
        ratio: Median over the turns of the first over the second.
        cpu_ratio: The same of the processes' CPU time, which other programs disturb less.
        load_seconds: CPU time to open the file.
        size_ratio: Bytes of the file over those of the weights in float32.
    """

    id: str
    seconds: float
    native_seconds: float
    ratio: float
    cpu_ratio: float
    load_seconds: float
    size_ratio: float


@dataclass(frozen=True)
class ExportBench(Measured):
    """Timings of one run, with where and how they were taken."""

    machine: dict[str, Any]
    native: str
    size: int
    repeats: int
    threads: int
    timings: tuple[ExportTiming, ...]


def bench_exported(
    ids: Sequence[str],
    *,
    size: int = 512,
    repeats: int = 5,
    against: Path | None = None,
    done: Callable[[ExportTiming], None] = lambda _: None,
) -> ExportBench:
    """Time exported networks and their native pass, taking turns.

    Args:
        ids: Models.
        size: Height and width of the image, in pixels.
        repeats: Turns; medians are reported.
        against: Take the native pass of this build: a checkout of unveil, or a folder it is
            installed in. None takes the running one's.
        done: Called with every timing as soon as it is there.

    Returns:
        One timing per model.

    Raises:
        InputError: An unknown model, one that cannot be exported, or no unveil in the folder.
    """
    threads = torch.get_num_threads()
    source = Path(unveil.__file__).parents[1] if against is None else source_of(against)
    timings = []
    with running_build(source, threads) as build:
        for name in ids:
            with _session(name) as (run, load_seconds, size_ratio):
                image = torch.rand(1, 3, size, size).numpy()
                run(image)
                turns = [
                    (_seconds(run, image), build.time(name, "pass", 1, size))
                    for _ in range(repeats)
                ]
            median = statistics.median
            timings.append(
                ExportTiming(
                    id=name,
                    seconds=median(file[0] for file, _ in turns),
                    native_seconds=median(native[0] for _, native in turns),
                    ratio=median(file[0] / native[0] for file, native in turns),
                    cpu_ratio=median(file[1] / max(native[1], 1e-9) for file, native in turns),
                    load_seconds=load_seconds,
                    size_ratio=size_ratio,
                )
            )
            done(timings[-1])
    return ExportBench(
        describe_machine(), str(against or source), size, repeats, threads, tuple(timings)
    )


@contextmanager
def _session(model: str) -> Iterator[tuple[Callable[[Any], Any], float, float]]:
    """Export a model; give what runs the file, the time to open it, and its relative size."""
    loaded = load(model)
    data = build_whole(loaded).SerializeToString()
    start = time.process_time()
    session = open_session(data)
    load_seconds = time.process_time() - start
    weights = 4 * count_parameters(restoration_model(loaded))
    yield lambda image: session.run(None, {"image": image}), load_seconds, len(data) / weights


def _seconds(run: Callable[[Any], Any], image: Any) -> list[float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run(image)
    return [time.perf_counter() - wall, time.process_time() - cpu]
