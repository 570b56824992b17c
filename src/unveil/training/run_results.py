"""Results of a run: validations, checkpoints and exported weights."""

import json
import logging
import time
from pathlib import Path

from safetensors import SafetensorError

from unveil.errors import OutputError
from unveil.imaging import save_png
from unveil.models.checkpoint import save_pretrained
from unveil.training.checkpoints import save_state
from unveil.training.logs import RunLogs
from unveil.training.run_directory import BEST, CHECKPOINTS, PICTURES
from unveil.training.session import Session
from unveil.training.validation import Validation, validate

_log = logging.getLogger(__name__)


class RunResults:
    """Validates the average, exports its weights and writes checkpoints; on the first process.

    A validation scores the EMA, draws an image and exports the weights to the run's directory,
    and to `best/` if they are the best so far. A checkpoint follows every validation, the start,
    the end, and the recipe's `save_every`.

    Args:
        session: The run.
        out: Directory of the run.
        logs: Destination of the scores.

    Attributes:
        latest: The last validation, or None.
    """

    def __init__(self, session: Session, out: Path, logs: RunLogs) -> None:
        self.session, self.out, self.logs = session, out, logs
        self.latest: Validation | None = None
        self._validated = self._saved = time.monotonic()

    def validate_start(self) -> Validation:
        """Score the network before its first step; return the scores and the time it took."""
        session = self.session
        network = session.network.eval()
        validate(network, session.images[:1])  # The first image includes allocations.
        start = validate(network, session.images)
        network.train()
        self.logs.validation(0, start)
        _log.info("validation at the start: %.2f dB in %.1f s", start.psnr, start.seconds)
        return start

    def begin(self, start: Validation | None) -> None:
        """Make a new run resumable from its first step on.

        Args:
            start: Scores of the network as it begins; None where the run goes on.
        """
        self._validated = self._saved = time.monotonic()
        if self.session.step > 0:
            return
        if start is not None and self.session.recipe.model.weights is not None:
            # Training may make given weights worse; then they remain the best.
            self._export_best(start)
        self.save()

    def validate(self) -> None:
        """Score the average, draw it, and export its weights.

        Raises:
            OutputError: A file cannot be written.
        """
        session = self.session
        result = self.latest = validate(session.ema.network, session.images)
        self.logs.validation(session.step, result)
        save_png(self.out / PICTURES / f"step_{session.step:07d}.png", result.montage)
        self._export(result, self.out)
        if not session.best or result.psnr > session.best["psnr"]:
            self._export_best(result)
        self._validated = time.monotonic()

    def save(self) -> None:
        """Write a checkpoint.

        Raises:
            OutputError: It cannot be written; earlier ones are intact.
        """
        save_state(self.session.state(), self.out / CHECKPOINTS)
        self._saved = time.monotonic()

    def validation_due(self) -> bool:
        """Return whether the recipe's interval has passed since the last validation."""
        evaluation = self.session.recipe.evaluation
        if evaluation.every_steps is not None:
            return self.session.step % evaluation.every_steps == 0
        assert evaluation.every is not None
        return time.monotonic() - self._validated >= evaluation.every

    def checkpoint_due(self) -> bool:
        """Return whether `save_every` has passed since the last checkpoint."""
        return time.monotonic() - self._saved >= self.session.recipe.schedule.save_every

    def _export_best(self, result: Validation) -> None:
        self.session.best = {"step": self.session.step, "psnr": result.psnr}
        self._export(result, self.out / BEST)

    def _export(self, result: Validation, folder: Path) -> None:
        """Write the average's weights; the recipe stays out, it holds this machine's paths."""
        session = self.session
        facts = {"step": session.step, "steps": session.steps, "validation": result.groups}
        try:
            save_pretrained(session.ema.network, folder, {"training": json.dumps(facts)})
        except (OSError, SafetensorError) as error:
            raise OutputError(f"cannot write the weights into {folder}: {error}") from error
