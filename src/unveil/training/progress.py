"""Progress of a run: rows of the log, and a bar or lines on a console."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from unveil.process import process_memory
from unveil.training.calibration import TrainingPlan
from unveil.training.logs import PARTS, RunLogs
from unveil.training.recipe import Phase
from unveil.training.schedule import phase_ends
from unveil.training.session import Session
from unveil.training.units import format_seconds

_REDRAW_SECONDS = 0.5
_LINE_SECONDS = 30.0
_ROWS = 1000


@dataclass(frozen=True)
class StepRecord:
    """One optimiser step.

    Attributes:
        loss: Mean loss of this process' images.
        norm: Norm of the gradient before clipping.
        rate: Learning rate.
        images: Images of this process.
        phase: Phase of the step.
    """

    loss: float
    norm: float
    rate: float
    images: int
    phase: Phase


@dataclass
class _Interval:
    """Sums since the last row of the log."""

    start: float = field(default_factory=time.perf_counter)
    steps: int = 0
    images: int = 0
    loss: float = 0.0


class ProgressReport:
    """Logs a row every thousandth of a run, and shows a bar or lines on a console.

    Args:
        session: The run, calibrated.
        logs: Destination of rows; None on all processes but the first.
        console: Shows progress; None, or any process but the first, shows nothing.
    """

    def __init__(self, session: Session, logs: RunLogs | None, console: Console | None) -> None:
        self.logs = logs
        self.console = console if logs is not None else None
        self.row: dict[str, float] = {}
        self._interval = _Interval()
        self._bar: Progress | None = None
        self._task: Any = None
        self._shown = 0.0
        session.clock.take()
        if self.console is not None and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                BarColumn(bar_width=20),
                TextColumn("{task.description}"),
                console=self.console,
                auto_refresh=False,
            )
            self._task = self._bar.add_task("", total=session.steps)
            self._bar.start()

    def add(self, session: Session, step: StepRecord) -> None:
        """Count a step; log and show when it is time.

        Args:
            session: The run after the step.
            step: The step.
        """
        interval = self._interval
        interval.steps += 1
        interval.images += step.images * session.processes
        interval.loss += step.loss
        last = session.step == session.steps
        if last or session.step % max(1, session.steps // _ROWS) == 0:
            self._log(session, step)
        now = time.monotonic()
        due = now - self._shown >= (_REDRAW_SECONDS if self._bar else _LINE_SECONDS)
        if self.console is not None and self.row and (due or last):
            self._shown = now
            self._show(session, self.console)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def _log(self, session: Session, step: StepRecord) -> None:
        interval, parts = self._interval, session.clock.take()
        # Validations and checkpoints are not part of a step.
        seconds = time.perf_counter() - interval.start - parts.pop("results", 0.0)
        per_step = {name: spent / interval.steps for name, spent in parts.items()}
        per_step["other"] = seconds / interval.steps - sum(per_step.values())
        self.row = {
            "step": session.step,
            "loss": interval.loss / interval.steps,
            "norm": step.norm,
            "lr": step.rate,
            "patch": step.phase.patch,
            "batch": step.phase.batch,
            "images_per_second": interval.images / seconds,
            **{name: per_step.get(name, 0.0) for name in PARTS},
            "memory_mb": _memory(session.fabric.device) / 1e6,
        }
        if self.logs is not None:
            self.logs.progress(self.row)
        self._interval = _Interval()

    def _show(self, session: Session, console: Console) -> None:
        assert session.plan is not None
        seconds = sum(self.row[name] for name in PARTS)
        phases = session.recipe.schedule.phases
        left = seconds_left(session.plan, phases, session.step, seconds)
        text = progress_line(self.row, left, session.best)
        if self._bar is not None:
            self._bar.update(self._task, completed=session.step, description=text, refresh=True)
        else:
            console.print(f"{session.step}/{session.steps} {text}", highlight=False)


def progress_line(row: Mapping[str, float], left: float, best: Mapping[str, float]) -> str:
    """Describe the state of a run in a line.

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


def seconds_left(plan: TrainingPlan, phases: list[Phase], step: int, seconds: float) -> float:
    """Estimate the seconds until the end of a run.

    Args:
        plan: Its measured speeds give the ratio of a later phase's speed to this one's.
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
