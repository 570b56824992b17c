"""Time the fused passes beside the same in plain PyTorch operations: one run, taking turns."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unveil.bench.machine import describe_machine
from unveil.bench.turns import Measured, median_ratio, take_turns
from unveil.errors import BackendUnavailableError
from unveil.ops import (
    causal_conv1d,
    channel_gram,
    depthwise_conv,
    gated_depthwise,
    gated_unit,
    layer_norm,
    native,
    norm_gate,
    pointwise_conv,
    silu_gate,
)

SHAPES = ((8, 32, 32, 48), (8, 16, 16, 96), (1, 256, 256, 48))

_Shape = tuple[int, int, int, int]
_Operation = Callable[..., Tensor]


@dataclass(frozen=True)
class PassTiming:
    """What one pass takes on one shape.

    Attributes:
        name: Function and variant.
        shape: Of its output, ``(b, h, w, c)``.
        forward_us: Median of the native forward, in microseconds.
        forward_ratio: Median over the turns of the plain operations' time over the native one's.
        step_us: Median of the native forward and backward.
        step_ratio: As `forward_ratio`.
    """

    name: str
    shape: _Shape
    forward_us: float
    forward_ratio: float
    step_us: float
    step_ratio: float


@dataclass(frozen=True)
class PassBench(Measured):
    """Timings of one run, with where and how they were taken."""

    machine: dict[str, Any]
    threads: int
    repeats: int
    timings: tuple[PassTiming, ...]


def bench_passes(shapes: Sequence[_Shape] = SHAPES, *, repeats: int = 15) -> PassBench:
    """Time every fused pass against plain PyTorch operations, in float32.

    Args:
        shapes: Outputs' shapes ``(b, h, w, c)``.
        repeats: Turns per pass and shape; the medians are returned.

    Returns:
        One timing per pass and shape.

    Raises:
        BackendUnavailableError: The kernel library is missing, or its results are wrong.

    >>> from unveil.ops import native
    >>> native.status().reason is not None or len(bench_passes([(1, 4, 4, 16)], repeats=1).timings)
    13
    """
    native.load()
    timings = []
    for shape in shapes:
        for name, (op, inputs, options) in _cases(shape).items():
            tensors = [torch.randn(size).requires_grad_() for size in inputs]
            _require_agreement(name, op, tensors, options)
            forward = _turns(op, tensors, options, repeats, backward=False)
            step = _turns(op, tensors, options, repeats, backward=True)
            timings.append(PassTiming(name, shape, *forward, *step))
    return PassBench(describe_machine(), torch.get_num_threads(), repeats, tuple(timings))


def _cases(shape: _Shape) -> dict[str, tuple[_Operation, list[tuple[int, ...]], dict[str, Any]]]:
    """Name every pass, with its inputs' shapes and options."""
    *pixels, c = shape
    wide = (*pixels, 2 * c)
    conv: list[tuple[int, ...]] = [shape, (c, 1, 3, 3), (c,)]
    gated: list[tuple[int, ...]] = [wide, (2 * c, 1, 3, 3), (2 * c,)]
    unit = [shape, (c,), (c,), (2 * c, c), *gated[1:], (c, c)]
    return {
        "depthwise_conv": (depthwise_conv, conv, {}),
        "depthwise_conv + silu": (depthwise_conv, conv, {"activation": "silu"}),
        "depthwise_conv + leaky_relu": (depthwise_conv, conv, {"activation": "leaky_relu"}),
        "gated_depthwise": (gated_depthwise, gated, {}),
        "gated_depthwise, gelu": (gated_depthwise, gated, {"gate": "gelu"}),
        "gated_unit": (gated_unit, unit, {}),
        "causal_conv1d + silu": (causal_conv1d, [shape, (c, 1, 4), (c,)], {}),
        "pointwise_conv": (pointwise_conv, [shape, (c, c), shape], {}),
        "pointwise_conv, up": (pointwise_conv, [shape, (2 * c, c)], {"sampling": "up"}),
        "channel_gram": (channel_gram, [shape], {}),
        "layer_norm": (layer_norm, [shape, (c,), (c,)], {}),
        "norm_gate": (norm_gate, [shape, shape, (c,), (c,)], {}),
        "silu_gate": (silu_gate, [shape, shape], {}),
    }


def _run(op: _Operation, tensors: list[Tensor], options: dict[str, Any]) -> list[Tensor]:
    y = op(*tensors, **options)
    return [y.detach(), *torch.autograd.grad(y, tensors, torch.ones_like(y))]


def _require_agreement(
    name: str, op: _Operation, tensors: list[Tensor], options: dict[str, Any]
) -> None:
    exact = [t.detach().double().requires_grad_() for t in tensors]
    expected = _run(op, exact, {**options, "backend": "reference"})
    got = _run(op, tensors, {**options, "backend": "native"})
    for g, e in zip(got, expected, strict=True):
        error = float((g - e).norm() / e.norm().clamp(min=1e-2))
        if not error < 1e-5:
            raise BackendUnavailableError(f"{name} is wrong by {error:.1e}: nothing was timed")


def _turns(
    op: _Operation,
    tensors: list[Tensor],
    options: dict[str, Any],
    repeats: int,
    *,
    backward: bool,
) -> tuple[float, float]:
    """Return the native time in microseconds and the ratio, as medians over turns."""
    grad = torch.ones_like(op(*tensors, **options))

    def run(backend: str) -> None:
        with torch.set_grad_enabled(backward):
            y = op(*tensors, **options, backend=backend)
        if backward:
            torch.autograd.grad(y, tensors, grad)

    runs = {backend: partial(run, backend) for backend in ("reference", "native")}
    plain, fused = take_turns(runs, repeats).values()
    return statistics.median(fused) * 1e6, median_ratio(plain, fused)
