"""The training loop on Lightning Fabric, and the step that the dry run shares with it."""

import math
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

from unveil.errors import TrainingError
from unveil.training.optimizer import set_rate
from unveil.training.progress import ProgressReport, StepRecord
from unveil.training.run_results import RunResults
from unveil.training.schedule import learning_rate
from unveil.training.session import Session
from unveil.training.signals import StopRequest
from unveil.training.step import Batch, accumulate_gradients


class NonFiniteError(TrainingError):
    """A loss or a gradient is not finite; the optimiser has not stepped.

    Attributes:
        content: Step, value, tasks and files of the batch.
    """

    def __init__(self, session: Session, what: str, value: float, batch: Batch) -> None:
        super().__init__(
            f"the {what} is {value} at step {session.step}: lower optim.lr, set optim.clip, or "
            f"leave out some of {', '.join(batch['name'])}"
        )
        self.what, self.value, self.step = what, value, session.step
        self.content: dict[str, Any] = {
            "step": session.step,
            what: str(value),
            "task": batch.get("task"),
            "files": batch["name"],
        }


def fit(
    session: Session, results: RunResults | None, progress: ProgressReport, stop: StopRequest
) -> None:
    """Train until the plan's last step, or until a signal.

    Args:
        session: Launched and calibrated.
        results: Validations and checkpoints; None on all processes but the first.
        progress: Log rows and the progress bar.
        stop: Set by a signal.

    Raises:
        NonFiniteError: The loss or the gradient is not finite.
    """
    for batch in session.batches():
        progress.add(session, train_step(session, batch))
        stopping = session.any_process(stop.received is not None)
        if results is not None:
            with session.clock.part("results"):
                validated = results.validation_due() or session.step == session.steps
                if validated:
                    results.validate()
                if validated or stopping or results.checkpoint_due():
                    results.save()
        if stopping:
            break


def train_step(session: Session, batch: Batch) -> StepRecord:
    """Take one optimiser step on this process' part of a batch.

    Args:
        session: Launched and calibrated.
        batch: `degraded` and `clean`, each ``(b, 3, h, w)``, with `name` and `task` per image.

    Raises:
        NonFiniteError: The loss or the gradient is not finite, in any process.
    """
    recipe, fabric, clock = session.recipe, session.fabric, session.clock
    number, phase = session.phase()
    assert session.plan is not None
    rate = learning_rate(recipe.schedule, recipe.optim.lr, session.step, session.steps)
    # Dropout draws from a generator seeded by the step: resuming needs no stored generator.
    torch.manual_seed((recipe.seed << 32) + session.step)
    set_rate(session.optimizer, rate)
    session.optimizer.zero_grad()
    with fabric.autocast():
        loss = accumulate_gradients(
            session.model,
            batch,
            recipe.loss(phase),
            micro_batch=session.plan.micro_batch[number],
            clock=clock,
            task_loss=recipe.task_loss(phase),
            backward=fabric.backward,
            unsynchronised=partial(fabric.no_backward_sync, session.model)
            if session.processes > 1
            else nullcontext,
        ).item()
    _require_finite(session, "loss", loss, batch)
    with clock.part("optimiser"):
        clipped = fabric.clip_gradients(
            session.model,
            session.fabric_optimizer,
            max_norm=recipe.optim.clip or math.inf,
            error_if_nonfinite=False,
        )
        norm = math.nan if clipped is None else clipped.item()
        # The scaler of fp16 skips such steps by itself, and lowers its scale.
        if recipe.optim.precision != "fp16":
            _require_finite(session, "gradient", norm, batch)
        session.fabric_optimizer.step()
        session.step += 1
        session.ema.update_parameters(session.network)
    return StepRecord(loss, norm, rate, len(batch["clean"]), phase)


def _require_finite(session: Session, what: str, value: float, batch: Batch) -> None:
    if session.any_process(not math.isfinite(value)):
        raise NonFiniteError(session, what, value, batch)
