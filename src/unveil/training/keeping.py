"""Validate, keep checkpoints and export weights while a run goes on."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors import SafetensorError

from unveil.errors import OutputError
from unveil.imaging import save_png
from unveil.models.checkpoint import save_pretrained
from unveil.training.checkpoints import save_state
from unveil.training.folder import BEST, CHECKPOINTS, PICTURES
from unveil.training.logs import RunLogs
from unveil.training.module import RestorationModule
from unveil.training.quantities import parse_duration
from unveil.training.validation import Pair, Validation, validate


class Keeper(Callback):
    """Keep a run's results; only the first process does anything.

    At every validation the moving average is scored, a picture of it drawn, its weights exported to
    the run's folder, and to `best/` if it is the best so far. Checkpoints follow every validation,
    the first and the last step, and the recipe's `save_every`.

    Args:
        out: Folder of the run.
        pairs: Photographs to validate on.
        logs: Where scores go.
    """

    def __init__(
        self,
        out: Path,
        pairs: Sequence[Pair],
        logs: RunLogs,
    ) -> None:
        self.out = out
        self.pairs = pairs
        self.logs = logs
        self.latest: Validation | None = None
        self._validated = self._saved = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the run resumable from its first step on."""
        assert isinstance(pl_module, RestorationModule)
        self._validated = self._saved = time.monotonic()
        if trainer.is_global_zero and pl_module.step == 0:
            if pl_module.recipe.model.weights is not None and pl_module.start is not None:
                # Weights that are worse than those it began with are not the best.
                self._keep_best(pl_module, pl_module.start)
            self.save(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Validate and save when it is time, at the end, and before stopping."""
        assert isinstance(pl_module, RestorationModule)
        if not trainer.is_global_zero:
            return
        finished = pl_module.step == pl_module.decided.steps
        validated = finished or self._validation_due(pl_module)
        with pl_module.clock.part("keeping"):
            if validated:
                self.validate(pl_module)
            if validated or trainer.should_stop or self._saving_due(pl_module):
                self.save(pl_module)

    def validate(self, module: RestorationModule) -> Validation:
        """Score the moving average, draw it, and export its weights."""
        result = validate(module.ema.network, self.pairs)
        self.latest = result
        self.logs.validation(module.step, result)
        save_png(self.out / PICTURES / f"step_{module.step:07d}.png", result.picture)
        self._export(module, result, self.out)
        self._keep_best(module, result)
        self._validated = time.monotonic()
        return result

    def _keep_best(self, module: RestorationModule, result: Validation) -> None:
        if not module.best or result.psnr > module.best["psnr"]:
            module.best = {"step": module.step, "psnr": result.psnr}
            self._export(module, result, self.out / BEST)

    def save(self, module: RestorationModule) -> None:
        """Write a checkpoint."""
        save_state(module.state(), self.out / CHECKPOINTS)
        self._saved = time.monotonic()

    def _export(self, module: RestorationModule, result: Validation, folder: Path) -> None:
        """Write the average's weights; the recipe stays out, it holds this machine's paths."""
        facts = {"step": module.step, "steps": module.decided.steps, "validation": result.groups}
        try:
            save_pretrained(module.ema.network, folder, {"training": json.dumps(facts)})
        except (OSError, SafetensorError) as error:
            raise OutputError(f"cannot write the weights into {folder}: {error}") from error

    def _validation_due(self, module: RestorationModule) -> bool:
        evaluation = module.recipe.evaluation
        if evaluation.every_steps is not None:
            return module.step % evaluation.every_steps == 0
        assert evaluation.every is not None
        return time.monotonic() - self._validated >= parse_duration(evaluation.every)

    def _saving_due(self, module: RestorationModule) -> bool:
        interval = parse_duration(module.recipe.schedule.save_every)
        return time.monotonic() - self._saved >= interval
