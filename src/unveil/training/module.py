"""The Lightning module: what one training step does, on any device and number of processes.

Optimisation is manual, because a phase may change the batch, and with it the number of passes per
step. The learning rate, the phase and the random numbers of a step depend on the step alone.
"""

import json
import logging
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ParallelStrategy

from unveil.errors import CheckpointError, TrainingError
from unveil.models.base import RestorationModel
from unveil.training.checkpoints import State
from unveil.training.ema import Ema
from unveil.training.folder import same_validation, stored_recipe
from unveil.training.losses import Loss, parse_loss
from unveil.training.optimizer import build_optimizer, set_rate
from unveil.training.plan import Plan, phase_loss, phase_task_loss
from unveil.training.recipe import Phase, Recipe
from unveil.training.recipe_file import dump_recipe
from unveil.training.schedule import learning_rate, phase_at
from unveil.training.step import Batch, Clock, accumulate_gradients, gradient_norm
from unveil.training.validation import Validation

BAD_BATCH = "nonfinite.json"

_log = logging.getLogger(__name__)


class RestorationModule(LightningModule):
    """Train a restoration network by a recipe.

    Args:
        network: Restores (b, 3, h, w) images.
        recipe: How to train it.
        out: Folder of the run, where the names of a bad batch are saved.
        photographs: What stands for the photographs and their order, see `TrainingSet.fingerprint`.
    """

    def __init__(
        self, network: RestorationModel, recipe: Recipe, out: Path, photographs: str = ""
    ) -> None:
        super().__init__()
        self.photographs = photographs
        self.automatic_optimization = False
        self.network = network
        self.recipe = recipe
        self.out = out
        self.plan: Plan | None = None
        self.step = 0
        self.phase_number = 0
        self.seconds = 0.0
        self.start: Validation | None = None
        self.best: dict[str, float] = {}
        self.clock = Clock()
        self.last: dict[str, float] = {}
        self.ema = Ema(network, recipe.optim.ema)
        self._losses: dict[str, Loss] = {}
        self._resumed: State | None = None
        self._since = time.perf_counter()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build AdamW; the schedule needs no object of its own."""
        return build_optimizer(self.network, self.recipe.optim)

    @property
    def decided(self) -> Plan:
        """The plan; it exists once training has started."""
        assert self.plan is not None
        return self.plan

    def phase(self) -> tuple[int, Phase]:
        """Return the number and the phase of the coming step."""
        phases = self.recipe.schedule.phases
        phase = phase_at(phases, self.step, self.decided.steps)
        return phases.index(phase), phase

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Take one optimiser step on this process' part of a batch.

        Raises:
            TrainingError: The loss or the gradient is not finite.
        """
        self.phase_number, phase = self.phase()
        # Dropout and the like draw from the step's own stream: resuming needs no saved generator.
        torch.manual_seed((self.recipe.seed << 32) + self.step)
        optimizer = self._optimizer()
        schedule, peak = self.recipe.schedule, self.recipe.optim.lr
        set_rate(optimizer.optimizer, learning_rate(schedule, peak, self.step, self.decided.steps))
        optimizer.zero_grad()
        loss = accumulate_gradients(
            self.network,
            batch,
            self._loss(phase_loss(self.recipe, phase)),
            micro_batch=self.decided.micro_batch[self.phase_number],
            clock=self.clock,
            task_loss=phase_task_loss(self.recipe, phase),
            backward=self.manual_backward,
            unsynchronised=self._unsynchronised if self.trainer.world_size > 1 else nullcontext,
        )
        self._require_finite(loss.item(), "loss", batch)
        self._batch = batch
        with self.clock.part("optimiser"):
            optimizer.step()
            self.step += 1
            self.ema.update(self.step)
        self.last.update(loss=loss.item(), images=len(batch["clean"]))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient; Lightning calls this once it is unscaled."""
        norm = gradient_norm(self.network, self.recipe.optim.clip)
        # The fp16 scaler skips such steps by itself and lowers its scale.
        if self.recipe.optim.precision != "fp16":
            self._require_finite(norm, "gradient", self._batch)
        self.last = {"norm": norm, "lr": optimizer.param_groups[0]["lr"]}

    def state(self) -> State:
        """Return all a later run needs to go on from here."""
        return State(
            step=self.step,
            recipe=dump_recipe(self.recipe),
            plan=self.decided.to_dict(),
            network=self.network.state_dict(),
            average=self.ema.network.state_dict(),
            optimizer=self._optimizer().optimizer.state_dict(),
            precision=self.trainer.precision_plugin.state_dict(),
            best=self.best,
            photographs=self.photographs,
            seconds=self.seconds + time.perf_counter() - self._since,
        )

    def resume_from(self, state: State) -> None:
        """Take over a stored state; the optimiser's part follows when training starts.

        Raises:
            CheckpointError: The network has changed since.
        """
        try:
            self.network.load_state_dict(state.network)
            self.ema.network.load_state_dict(state.average)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"the checkpoint is of another {self.recipe.model.id}: resume with the version of "
                f"unveil that wrote it ({reason})"
            ) from error
        self.plan = Plan.from_dict(state.plan)
        self.step, self.seconds = state.step, state.seconds
        # PSNR of other photographs does not compare.
        if same_validation(self.recipe, stored_recipe(state)):
            self.best = dict(state.best)
        if state.photographs and state.photographs != self.photographs:
            _log.warning(
                "the training photographs have changed since: the run goes on with samples that "
                "differ from those of an uninterrupted one"
            )
        self._resumed = state

    def on_fit_start(self) -> None:
        """Bring the average to the network's device and restore the optimiser."""
        self._since = time.perf_counter()
        self.ema.to(self.device, self.network)
        if self._resumed is not None:
            self._optimizer().optimizer.load_state_dict(self._resumed.optimizer)
            self.trainer.precision_plugin.load_state_dict(self._resumed.precision)
            self._resumed = None

    def _optimizer(self) -> LightningOptimizer:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        return optimizer

    def _loss(self, text: str) -> Loss:
        if text not in self._losses:
            self._losses[text] = parse_loss(text)
        return self._losses[text]

    def _unsynchronised(self) -> Any:
        strategy = self.trainer.strategy
        assert isinstance(strategy, ParallelStrategy)
        return strategy.block_backward_sync()

    def _require_finite(self, value: float, what: str, batch: Batch) -> None:
        """Stop every process when the value of any is not finite; the optimiser has not stepped."""
        bad = not math.isfinite(value)
        if self.trainer.world_size > 1:
            anywhere = self.trainer.strategy.reduce_boolean_decision(bad, all=False)
        else:
            anywhere = bad
        if not anywhere:
            return
        path = self.out / (
            BAD_BATCH if self.global_rank == 0 else f"nonfinite-{self.global_rank}.json"
        )
        content = {
            "step": self.step,
            what: str(value),
            "task": batch.get("task"),
            "files": batch["name"],
        }
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        raise TrainingError(
            f"the {what} is {value} at step {self.step}: the batch's files are in {path}, the last "
            "checkpoint is untouched; lower optim.lr, set optim.clip, or leave out the files"
        )
