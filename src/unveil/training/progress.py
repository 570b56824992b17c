"""Show and log how a run goes: loss, speed, time left, memory."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from unveil.training.logs import PARTS, RunLogs
from unveil.training.memory import process_memory
from unveil.training.module import RestorationModule
from unveil.training.plan import Plan
from unveil.training.quantities import format_seconds
from unveil.training.recipe import Phase
from unveil.training.schedule import phase_ends

_REDRAW_SECONDS = 0.5
_LINE_SECONDS = 30.0
_ROWS = 1000


@dataclass
class Window:
    """Sums since the last row of the log.

    Attributes:
        start: Time of the last row.
        steps: Steps since.
        images: Images since, over all processes.
        loss: Sum of the losses.
    """

    start: float = field(default_factory=time.perf_counter)
    steps: int = 0
    images: int = 0
    loss: float = 0.0


class Reporter(Callback):
    """Log a row every thousandth of a run, and keep a progress bar or lines on a console.

    Args:
        logs: Where rows go; None on all processes but the first.
        console: Where progress is shown; None shows nothing.
    """

    def __init__(self, logs: RunLogs | None, console: Console | None) -> None:
        self.logs = logs
        self.console = console
        self.row: dict[str, float] = {}
        self._window = Window()
        self._bar: Progress | None = None
        self._task: Any = None
        self._shown = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        assert isinstance(pl_module, RestorationModule)
        self._window = Window()
        pl_module.clock.take()
        if self.console is None or not trainer.is_global_zero or not self.console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            console=self.console,
            auto_refresh=False,
        )
        self._task = self._bar.add_task("", total=pl_module.decided.steps)
        self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count the step; log and show when it is time."""
        assert isinstance(pl_module, RestorationModule)
        module, window = pl_module, self._window
        window.steps += 1
        window.images += int(module.last["images"]) * trainer.world_size
        window.loss += module.last["loss"]
        total = module.decided.steps
        if module.step % max(1, total // _ROWS) == 0 or module.step == total:
            self._close_window(module)
        now = time.monotonic()
        interval = _REDRAW_SECONDS if self._bar else _LINE_SECONDS
        if self.row and (now - self._shown >= interval or module.step == total):
            self._shown = now
            self._show(trainer, module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the bar."""
        del trainer, pl_module, stage
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _close_window(self, module: RestorationModule) -> None:
        window, parts = self._window, module.clock.take()
        phase = module.recipe.schedule.phases[module.phase_number]
        # Validations and checkpoints are not part of a step.
        seconds = time.perf_counter() - window.start - parts.pop("keeping", 0.0)
        per_step = {name: spent / window.steps for name, spent in parts.items()}
        per_step["other"] = seconds / window.steps - sum(per_step.values())
        self.row = {
            "step": module.step,
            "loss": window.loss / window.steps,
            "norm": module.last["norm"],
            "lr": module.last["lr"],
            "patch": phase.patch,
            "batch": phase.batch,
            "images_per_second": window.images / seconds,
            **{name: per_step.get(name, 0.0) for name in PARTS},
            "memory_mb": _memory(module.device) / 1e6,
        }
        if self.logs is not None:
            self.logs.progress(self.row)
        self._window = Window()

    def _show(self, trainer: Trainer, module: RestorationModule) -> None:
        if self.console is None or not trainer.is_global_zero:
            return
        seconds = sum(self.row[name] for name in PARTS)
        left = seconds_left(module.decided, module.recipe.schedule.phases, module.step, seconds)
        text = describe(self.row, left, module.best)
        if self._bar is not None:
            self._bar.update(self._task, completed=module.step, description=text, refresh=True)
        else:
            self.console.print(f"{module.step}/{module.decided.steps} {text}", highlight=False)


def describe(row: Mapping[str, float], left: float, best: Mapping[str, float]) -> str:
    """Say in a line how a run goes.

    Args:
        row: Latest row of the log.
        left: Seconds left.
        best: Step and PSNR of the best validation so far, or empty.
    """
    parts = [
        f"loss {row['loss']:.4g}",
        f"{row['images_per_second']:.3g} images/s of {row['patch']:.0f}²",
        f"{format_seconds(left)} left",
        f"{row['memory_mb']:.0f} MB",
    ]
    if best:
        parts.append(f"best {best['psnr']:.2f} dB at {best['step']:.0f}")
    return " · ".join(parts)


def seconds_left(plan: Plan, phases: list[Phase], step: int, seconds: float) -> float:
    """Estimate the seconds a run still takes.

    Args:
        plan: Its measured speeds tell how much slower or faster later phases are.
        phases: The recipe's phases.
        step: Steps done.
        seconds: Measured seconds of a step now.
    """
    ends = phase_ends(phases, plan.steps)
    starts = [0, *ends[:-1]]
    current = next((i for i, end in enumerate(ends) if step <= end), len(ends) - 1)
    speeds = plan.step_seconds or tuple(float(p.batch * p.patch**2) for p in phases)
    return sum(
        max(0, end - max(step, start)) * seconds * speeds[i] / speeds[current]
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_reserved(device))
    return float(process_memory())
