"""Time networks beside the convolution yardstick: one run, taking turns, medians."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from unveil.bench.machine import describe_machine
from unveil.bench.turns import Measured, median_ratio, take_turns
from unveil.bench.yardstick import ConvolutionYardstick, in_onnx_runtime
from unveil.errors import InputError
from unveil.models.base import RestorationModel, count_parameters
from unveil.models.cost import count_operations
from unveil.models.registry import create_model
from unveil.process import keep_freed_memory, trim

YARDSTICK = "yardstick"
_ONNX = "yardstick in ONNX Runtime"
_STEP_SHAPE = (16, 3, 64, 64)
_CLEAR_PEAK = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class ModelTiming:
    """What one network takes.

    Attributes:
        id: The model, or `YARDSTICK`.
        parameters: Their number.
        multiply_adds_per_pixel: See `Cost`.
        scan_updates_per_pixel: See `Cost`.
        seconds_per_megapixel: Median of a pass without gradients.
        inference_ratio: Median over the turns of its time over the yardstick's.
        peak_mebibytes: Memory of a pass beyond what was there before; None where it cannot be read.
        step_seconds: Median of forward, backward and optimiser on 16×3×64×64; None if not asked.
        step_ratio: As `inference_ratio`, for the step.
        onnx_ratio: As `inference_ratio`, over the yardstick's time in ONNX Runtime; None where that
            is not installed.
        seconds_by_layer: Share of a pass in each class of layer, exclusive of its parts, in
            seconds per megapixel.
    """

    id: str
    parameters: int
    multiply_adds_per_pixel: float
    scan_updates_per_pixel: float
    seconds_per_megapixel: float
    inference_ratio: float
    peak_mebibytes: float | None
    step_seconds: float | None
    step_ratio: float | None
    onnx_ratio: float | None
    seconds_by_layer: dict[str, float]


@dataclass(frozen=True)
class ModelBench(Measured):
    """Timings of one run, with where and how they were taken."""

    machine: dict[str, Any]
    height: int
    width: int
    repeats: int
    threads: int
    timings: tuple[ModelTiming, ...]


def bench_models(
    ids: Sequence[str],
    *,
    size: int = 512,
    repeats: int = 5,
    step: bool = True,
    overrides: dict[str, Any] | None = None,
) -> ModelBench:
    """Time networks and the yardstick, taking turns.

    Args:
        ids: Models.
        size: Height and width of the image, in pixels.
        repeats: Turns; medians are reported.
        step: Also time a training step on 16×3×64×64.
        overrides: Options for every model.

    Returns:
        The yardstick first, then the models.

    Raises:
        InputError: An unknown model, or a size that does not fit.
    """
    keep_freed_memory()
    networks: dict[str, nn.Module] = {YARDSTICK: ConvolutionYardstick()}
    networks |= {name: create_model(name, **(overrides or {})) for name in ids}
    for name, network in networks.items():
        if size % int(network.size_multiple):  # type: ignore[arg-type]
            raise InputError(f"size {size} is no multiple of {network.size_multiple} for {name}")
    image = torch.rand(1, 3, size, size)
    runs = {n: _inference(net, image) for n, net in networks.items()}
    in_onnx = in_onnx_runtime(cast("ConvolutionYardstick", networks[YARDSTICK]))
    if in_onnx is not None:
        runs[_ONNX] = partial(in_onnx, image)
    passes = take_turns(runs, repeats)
    steps = {}
    if step:
        batch = torch.rand(_STEP_SHAPE)
        steps = take_turns({n: _training(net, batch) for n, net in networks.items()}, repeats)
    timings = tuple(_timing(n, net, image, passes, steps) for n, net in networks.items())
    threads = torch.get_num_threads()
    return ModelBench(describe_machine(), size, size, repeats, threads, timings)


def _timing(
    name: str,
    network: nn.Module,
    image: Tensor,
    passes: dict[str, list[float]],
    steps: dict[str, list[float]],
) -> ModelTiming:
    megapixels = image.shape[-2] * image.shape[-1] / 1e6
    multiply_adds, updates = _cost(network)
    return ModelTiming(
        id=name,
        parameters=count_parameters(network),
        multiply_adds_per_pixel=multiply_adds,
        scan_updates_per_pixel=updates,
        seconds_per_megapixel=statistics.median(passes[name]) / megapixels,
        inference_ratio=_ratio(passes, name),
        peak_mebibytes=peak_mebibytes(_inference(network, image)),
        step_seconds=statistics.median(steps[name]) if steps else None,
        step_ratio=_ratio(steps, name) if steps else None,
        onnx_ratio=_ratio(passes, name, _ONNX) if _ONNX in passes else None,
        seconds_by_layer={
            kind: seconds / megapixels for kind, seconds in _by_layer(network, image).items()
        },
    )


def _cost(network: nn.Module) -> tuple[float, float]:
    if isinstance(network, RestorationModel):
        cost = count_operations(network)
        return cost.multiply_adds_per_pixel, cost.scan_updates_per_pixel
    weights = sum(p.numel() for p in network.parameters() if p.ndim == 4)
    return weights / 4, 0.0


def _inference(network: nn.Module, image: Tensor) -> Callable[[], Any]:
    def run() -> None:
        network.eval()
        with torch.no_grad():
            network(image)

    return run


def _training(network: nn.Module, batch: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)

    def run() -> None:
        network.train()
        optimizer.zero_grad()
        (network(batch) - batch).abs().mean().backward()
        optimizer.step()

    return run


def _ratio(seconds: dict[str, list[float]], name: str, to: str = YARDSTICK) -> float:
    return median_ratio(seconds[name], seconds[to])


def _by_layer(network: nn.Module, image: Tensor) -> dict[str, float]:
    """Return the seconds spent in each class of layer itself, without its parts; slowest first."""
    seconds: dict[str, float] = {}
    with _hooks(network, seconds):
        _inference(network, image)()
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


@contextmanager
def _hooks(network: nn.Module, seconds: dict[str, float]) -> Iterator[None]:
    """Time every module; the stack holds, per open call, when it began and what its parts took."""
    stack: list[list[float]] = []

    def enter(*_: Any) -> None:
        stack.append([time.perf_counter(), 0.0])

    def leave(module: nn.Module, *_: Any) -> None:
        began, in_parts = stack.pop()
        took = time.perf_counter() - began
        kind = type(module).__name__
        seconds[kind] = seconds.get(kind, 0.0) + took - in_parts
        if stack:
            stack[-1][1] += took

    handles = [m.register_forward_pre_hook(enter) for m in network.modules()]
    handles += [m.register_forward_hook(leave) for m in network.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def peak_mebibytes(run: Callable[[], None]) -> float | None:
    """Return the peak resident memory of a run beyond the memory before it (Linux)."""
    if sys.platform != "linux" or not _CLEAR_PEAK.exists():
        return None
    # Freed memory the allocator kept would hide a part of what the run takes.
    trim()
    _CLEAR_PEAK.write_text("5", encoding="ascii")
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(field))
