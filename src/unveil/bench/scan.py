"""Time the selective scan: every backend, both directions, in one run, taking turns.

The machine's limit is a loop in the kernel library that does nothing but the kernel's own
exponential and the two multiply-adds of the recurrence, in registers.
"""

import ctypes
import math
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from unveil.bench.machine import describe_machine
from unveil.bench.model import peak_mebibytes
from unveil.errors import BackendUnavailableError
from unveil.ops import native, selective_scan
from unveil.ops.selective_scan.contract import LAYOUTS, Backend, Layout
from unveil.process import keep_freed_memory, trim

LENGTHS = (256, 1024, 4096, 16384, 65536)
CHANNELS = (96, 192)
STATES = (8, 16)
# Beyond so many state updates a contender is left out: seconds for the loop, gigabytes for mambapy.
_MOST_UPDATES = {"reference": 1 << 26, "mambapy": 1 << 26, "torch": 1 << 28}
# A millisecond or so; the best of some, since a limit is what is never exceeded and a processor
# takes a while to power its widest registers.
_LIMIT_STEPS, _LIMIT_RUNS = 60_000, 5


@dataclass(frozen=True)
class ScanTiming:
    """What one contender takes on one shape.

    Attributes:
        name: Backend and layout, or "mambapy".
        threads: Threads it ran on.
        length: Tokens l.
        channels: d.
        states: n.
        forward_ms: Median of the forward without gradients, in milliseconds.
        step_ms: Median of forward and backward.
        forward_updates: State updates (l d n) per second of the forward.
        step_updates: The same over the time of forward and backward.
        forward_share: Median over the turns of `forward_updates` over the machine's limit then.
        step_share: As `forward_share`, for forward and backward.
        forward_extra: Peak memory beyond inputs and output, in sizes of u; None if unreadable.
        step_extra: Peak memory beyond inputs, output and gradients, in sizes of u.
    """

    name: str
    threads: int
    length: int
    channels: int
    states: int
    forward_ms: float
    step_ms: float
    forward_updates: float
    step_updates: float
    forward_share: float
    step_share: float
    forward_extra: float | None
    step_extra: float | None


@dataclass(frozen=True)
class ScanBench:
    """Timings of one run, with where and how they were taken.

    Attributes:
        machine: See `describe_machine`.
        repeats: Turns; medians are reported.
        limits: Median of the machine's limit in state updates per second, by threads.
        timings: One per contender and shape.
    """

    machine: dict[str, Any]
    repeats: int
    limits: dict[int, float]
    timings: tuple[ScanTiming, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values that fit into JSON, with ratios and exponents worked out."""
        return asdict(self) | {"exponents": self.exponents(), "ratios": self.ratios()}

    def exponents(self) -> dict[str, float]:
        """Return, for the channels-last kernel, the power of l that its time grows with.

        Between the two greatest lengths of each size, where costs per call no longer count.
        """
        found = {}
        for key in {(t.threads, t.channels, t.states) for t in self.timings}:
            rows = [
                t
                for t in self.timings
                if t.name == "native bld" and (t.threads, t.channels, t.states) == key
            ]
            if len(rows) > 1:
                low, high = sorted(rows, key=lambda t: t.length)[-2:]
                slope = math.log(high.forward_ms / low.forward_ms) / math.log(
                    high.length / low.length
                )
                found[f"threads={key[0]} d={key[1]} n={key[2]}"] = slope
        return found

    def ratios(self) -> list[dict[str, Any]]:
        """Return, per shape, how many times as fast the kernel is as each other contender."""
        found = []
        for t in self.timings:
            if not t.name.startswith("native"):
                continue
            same = {
                other.name: other
                for other in self.timings
                if (other.length, other.channels, other.states) == (t.length, t.channels, t.states)
                and not other.name.startswith("native")
            }
            shape = {"name": t.name, "threads": t.threads, "l": t.length, "d": t.channels}
            found.append(
                shape
                | {"n": t.states}
                | {f"forward over {k}": o.forward_ms / t.forward_ms for k, o in same.items()}
                | {f"step over {k}": o.step_ms / t.step_ms for k, o in same.items()}
            )
        return found


@dataclass(frozen=True)
class _Contender:
    name: str
    threads: int
    run: Callable[..., Any]
    layout: str


def bench_scan(
    lengths: Sequence[int] = LENGTHS,
    channels: Sequence[int] = CHANNELS,
    states: Sequence[int] = STATES,
    *,
    repeats: int = 7,
    threads: Sequence[int] = (1, 2),
    only_native: bool = False,
) -> ScanBench:
    """Time the scan in float32 on one batch element, delta positive, without gate.

    Args:
        lengths: Values of l.
        channels: Values of d.
        states: Values of n.
        repeats: Turns per shape; all contenders and the limit take part in each.
        threads: Thread counts for the kernel; the others run on the greatest.
        only_native: Leave out all but the kernel.

    Returns:
        Timings of the reference loop, the PyTorch backend, mambapy (when installed) and the kernel
        in both layouts.

    Raises:
        BackendUnavailableError: The kernel library is missing, or its results are wrong.
    """
    _check_results()
    keep_freed_memory()
    before, timings = torch.get_num_threads(), []
    limits: dict[int, list[float]] = {count: [] for count in threads}
    try:
        for l in lengths:  # noqa: E741
            for d in channels:
                for n in states:
                    shape = (l, d, n)
                    contenders = _contenders(threads, l * d * n, only_native)
                    timings += _time_shape(shape, contenders, limits, repeats)
    finally:
        torch.set_num_threads(before)
    medians = {count: statistics.median(values) for count, values in limits.items()}
    return ScanBench(describe_machine(), repeats, medians, tuple(timings))


def limit(threads: int) -> float:
    """Measure once what the machine can do with so many threads side by side.

    Returns:
        State updates per second.
    """
    function = native.load().unveil_scan_limit
    function.restype = ctypes.c_int64
    sinks = torch.zeros(threads, 64)

    def run(i: int) -> int:
        address = ctypes.c_void_p(sinks[i].data_ptr())
        return int(function(ctypes.c_int64(_LIMIT_STEPS), address))

    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_LIMIT_RUNS):
            start = time.perf_counter()
            updates = sum(pool.map(run, range(threads)))
            best = max(best, updates / (time.perf_counter() - start))
    return best


def _contenders(threads: Sequence[int], updates: int, only_native: bool) -> list[_Contender]:
    found = [
        _Contender(f"native {layout}", count, _backend("native"), layout)
        for count in threads
        for layout in LAYOUTS
    ]
    if only_native:
        return found
    most = max(threads)
    others = [
        _Contender("reference", most, _backend("reference"), "bld"),
        _Contender("torch", most, _backend("torch"), "bld"),
    ]
    if find_spec("mambapy") is not None:
        others.append(_Contender("mambapy", most, _mambapy, "bld"))
    return found + [x for x in others if updates <= _MOST_UPDATES[x.name]]


def _backend(name: Backend) -> Callable[..., Tensor]:
    def run(
        layout: Layout, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
    ) -> Tensor:
        return selective_scan(u, delta, A, B, C, D, layout=layout, backend=name)

    return run


def _mambapy(
    layout: str, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """Run what mambapy's block runs; its scan is the only part imported."""
    from mambapy.pscan import pscan  # type: ignore[import-untyped]  # noqa: PLC0415

    assert layout == "bld"
    decay = torch.exp(delta.unsqueeze(-1) * A)
    drive = delta.unsqueeze(-1) * B.unsqueeze(2) * u.unsqueeze(-1)
    states = pscan(decay, drive)
    y: Tensor = (states @ C.unsqueeze(-1)).squeeze(3) + D * u
    return y


def _draw(length: int, channels: int, states: int, layout: str, grad: bool) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def tokens(size: int) -> Tensor:
        x = torch.randn(1, length, size, generator=generator)
        return x if layout == "bld" else x.mT.contiguous()

    given = {
        "u": tokens(channels),
        "delta": torch.nn.functional.softplus(tokens(channels) - 4.0),
        "A": -torch.arange(1.0, states + 1).repeat(channels, 1),
        "B": tokens(states),
        "C": tokens(states),
        "D": torch.ones(channels),
    }
    return {name: x.requires_grad_(grad) for name, x in given.items()}


def _check_results() -> None:
    """A time without a right result is worth nothing."""
    for layout in LAYOUTS:
        given = _draw(256, 24, 16, layout, False)
        exact = {name: x.double() for name, x in given.items()}
        expected = _backend("reference")(layout, **exact)
        error = (_backend("native")(layout, **given) - expected).norm() / expected.norm()
        if not error <= 2e-6:
            raise BackendUnavailableError(f"the kernel is wrong by {error:.1e}: not timed")


def _time_shape(
    shape: tuple[int, int, int],
    contenders: list[_Contender],
    limits: dict[int, list[float]],
    repeats: int,
) -> list[ScanTiming]:
    cases = [_case(shape, x) for x in contenders]
    seconds: list[tuple[list[float], list[float]]] = [([], []) for _ in contenders]
    shares: list[tuple[list[float], list[float]]] = [([], []) for _ in contenders]
    updates = math.prod(shape)
    # One turn warms up and is not counted.
    for turn in range(repeats + 1):
        now = {count: limit(count) for count in limits}
        for i, contender in enumerate(contenders):
            torch.set_num_threads(contender.threads)
            for which in (0, 1):
                start = time.perf_counter()
                cases[i][which]()
                taken = time.perf_counter() - start
                if turn:
                    seconds[i][which].append(taken)
                    shares[i][which].append(updates / taken / now[contender.threads])
        if turn:
            for count, value in now.items():
                limits[count].append(value)
    return [
        _summary(shape, contenders[i], cases[i], seconds[i], shares[i])
        for i in range(len(contenders))
    ]


def _case(
    shape: tuple[int, int, int], contender: _Contender
) -> tuple[Callable[[], None], Callable[[], None]]:
    plain = _draw(*shape, contender.layout, False)
    leaves = {name: x.detach().requires_grad_() for name, x in plain.items()}
    grad = torch.randn_like(plain["u"])

    def forward() -> None:
        with torch.no_grad():
            contender.run(contender.layout, **plain)

    def step() -> None:
        y = contender.run(contender.layout, **leaves)
        torch.autograd.grad(y, list(leaves.values()), grad)

    return forward, step


def _summary(
    shape: tuple[int, int, int],
    contender: _Contender,
    case: tuple[Callable[[], None], Callable[[], None]],
    seconds: tuple[list[float], list[float]],
    shares: tuple[list[float], list[float]],
) -> ScanTiming:
    length, channels, states = shape
    torch.set_num_threads(contender.threads)
    forward, step = (statistics.median(values) for values in seconds)
    own = length * channels * 4
    # Output; with gradients also those of u, delta, B, C and what is small.
    results = (own, 3 * own + 2 * length * states * 4 + channels * (states + 1) * 4)
    extra = [_extra(run, size, own) for run, size in zip(case, results, strict=True)]
    return ScanTiming(
        contender.name,
        contender.threads,
        length,
        channels,
        states,
        forward_ms=forward * 1e3,
        step_ms=step * 1e3,
        forward_updates=math.prod(shape) / forward,
        step_updates=math.prod(shape) / step,
        forward_share=statistics.median(shares[0]),
        step_share=statistics.median(shares[1]),
        forward_extra=extra[0],
        step_extra=extra[1],
    )


def _extra(run: Callable[[], None], results: int, unit: int) -> float | None:
    """Peak memory of a run beyond its results, in units; the heap is emptied before."""
    trim()
    peak = peak_mebibytes(run)
    return None if peak is None else (peak * (1 << 20) - results) / unit
