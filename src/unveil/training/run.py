"""Run a training: check everything, calibrate, train."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from unveil.data.pairing import existing_folder
from unveil.errors import TrainingError
from unveil.imaging.atomic import write_text
from unveil.models.base import RestorationModel, count_parameters
from unveil.models.registry import create_model
from unveil.training.best import comparable_best
from unveil.training.calibration import TrainingPlan, steps_within
from unveil.training.checkpoints import load_state
from unveil.training.degradation_probe import fit_all
from unveil.training.devices import Devices, is_first_process
from unveil.training.logs import RunLogs
from unveil.training.loop import NonFiniteError, fit
from unveil.training.micro_batch import micro_batches
from unveil.training.progress import ProgressReport
from unveil.training.recipe import Recipe
from unveil.training.resume import resumed_recipe
from unveil.training.run_directory import (
    BAD_BATCH,
    BEST,
    CHECKPOINTS,
    check_directory,
    check_outside,
    check_space,
    prepare_directory,
    write_recipe,
)
from unveil.training.run_results import RunResults
from unveil.training.session import Session, build_network, check_recipe
from unveil.training.signals import noted_signals
from unveil.training.validation import undegraded

_FLOAT32_BYTES = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOutcome:
    """The end of a training.

    Attributes:
        step: Steps done.
        steps: Steps planned.
        psnr: Validation PSNR of the last validation in dB, or None.
        best: Step and PSNR of the best validation, or empty.
        signal: Name of the signal that stopped it, or None.
    """

    step: int
    steps: int
    psnr: float | None
    best: dict[str, float]
    signal: str | None

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.steps

    def describe(self, out: Path) -> str:
        """Return a line with the best score and the place of the weights."""
        best = f", best {self.best['psnr']:.2f} dB at step {self.best['step']}" if self.best else ""
        if self.best and self.best["step"] == 0:
            worse = self.psnr is not None and self.psnr < self.best["psnr"]
            best += f" (the weights it began with{': training made them worse' if worse else ''})"
        if self.finished:
            return f"finished {self.steps} steps{best}; weights in {out} and {out / 'best'}"
        return f"stopped at step {self.step} of {self.steps}{best}; go on with --resume"

    def to_json(self) -> str:
        """Return the outcome as a JSON object."""
        return json.dumps({**asdict(self), "finished": self.finished})


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    devices: Devices | None = None,
    console: Console | None = None,
) -> TrainingOutcome:
    """Train a network by a recipe.

    The directory gets `recipe.yaml`, `checkpoints/`, `train.csv`, `validation.csv`, `tensorboard/`,
    `pictures/`, the latest averaged weights and, in `best/`, the best ones.

    Args:
        recipe: Network, images, optimiser and schedule.
        out: Directory of the run.
        resume: Go on from the last checkpoint in `out`.
        force: Delete an earlier run in `out`.
        devices: Devices and processes; one process on the best device when None.
        console: Shows progress; None shows nothing.

    Returns:
        The end: all steps done, or stopped by a signal with a checkpoint written.

    Raises:
        UnveilError: The recipe, the data or the directory is unusable, or the loss is not finite.
    """
    devices, out = devices or Devices(), Path(out)
    state = load_state(out / CHECKPOINTS) if resume else None
    if state is None:
        recipe, network = build_network(recipe)
    else:
        recipe = resumed_recipe(recipe, state)
        network = create_model(recipe.model.id, **recipe.model.options)
    check_recipe(recipe, network, devices.first().type, devices.processes)
    if is_first_process():
        _check_output(recipe, network, out, resume=resume, force=force)
    fabric = devices.fabric(recipe.optim.precision)
    session = Session(recipe, network, fabric, processes=devices.processes)
    if state is not None:
        session.restore(state)
        session.best = comparable_best(session.best, out / BEST, undegraded(session.images))
        if session.step >= session.steps:
            # Weights of a run that was killed while it fitted still lack the estimate.
            if is_first_process():
                fit_all(session, out)
            return TrainingOutcome(session.step, session.step, None, session.best, None)
    if is_first_process():
        # By now nothing can be wrong with recipe or data.
        prepare_directory(out, keep=resume)
        write_recipe(recipe, out)
    outcome = _launch(session, out, console)
    if outcome.finished and is_first_process():
        fit_all(session, out)
    return outcome


def _check_output(
    recipe: Recipe, network: RestorationModel, out: Path, *, resume: bool, force: bool
) -> None:
    check_directory(out, resume=resume, force=force)
    check_space(out, _FLOAT32_BYTES * count_parameters(network))
    sources = () if resume else (*recipe.data.train, *recipe.evaluation.sets)
    check_outside(out, (existing_folder(one.folder) for one in sources if one.folder))


def _launch(session: Session, out: Path, console: Console | None) -> TrainingOutcome:
    logs = results = progress = None
    with noted_signals() as stop:
        try:
            session.launch()
            if is_first_process():
                groups = list(dict.fromkeys(image.group for image in session.images))
                logs = RunLogs(out, groups, session.step)
                results = RunResults(session, out, logs)
            start = results.validate_start() if results and session.plan is None else None
            if session.plan is None:
                calibrate(session, start.seconds if start is not None else 0.0)
            if results:
                results.begin(start)
            progress = ProgressReport(session, logs, console)
            fit(session, results, progress, stop)
        except NonFiniteError as error:
            raise _with_report(error, out, session.fabric.global_rank) from error
        finally:
            if progress:
                progress.close()
            if logs:
                logs.close()
    return TrainingOutcome(
        step=session.step,
        steps=session.steps,
        psnr=results.latest.psnr if results and results.latest else None,
        best=session.best,
        signal=stop.received.name if stop.received else None,
    )


def calibrate(session: Session, validation_seconds: float) -> None:
    """Set the plan of a new run: all processes measure, the first one decides.

    Args:
        session: Launched.
        validation_seconds: Measured time of one validation, on the first process.

    Raises:
        RecipeError: Memory or duration do not suffice.
    """
    recipe, fabric = session.recipe, session.fabric
    # All measure at once: alone on the machine, a process is faster than beside the others.
    fabric.barrier()
    micro_batch = micro_batches(recipe, session.network, session.processes)
    if recipe.schedule.steps is not None:
        plan = TrainingPlan(recipe.schedule.steps, micro_batch)
    else:
        speeds = session.measure(micro_batch)
        steps = steps_within(recipe, speeds, validation_seconds)
        plan = TrainingPlan(steps, micro_batch, speeds)
        if fabric.global_rank == 0 and recipe.schedule.duration is not None:
            _log.info("%s are %d steps", recipe.schedule.duration.text, steps)
    session.plan = TrainingPlan.from_dict(fabric.broadcast(plan.to_dict(), src=0))


def _with_report(error: NonFiniteError, out: Path, rank: int) -> TrainingError:
    """Write the batch of a non-finite loss into the run's directory, and name the file."""
    path = out / (BAD_BATCH if rank == 0 else f"nonfinite-{rank}.json")
    try:
        write_text(path, json.dumps(error.content, indent=2) + "\n")
    except OSError:
        return error  # It names the files itself.
    return TrainingError(
        f"the {error.what} is {error.value} at step {error.step}: the batch's files are in {path}, "
        "the last checkpoint is untouched; lower optim.lr, set optim.clip, or leave out the files"
    )
