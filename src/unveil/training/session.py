"""A session: what a training, its dry run and a resumed run compute with."""

import logging
import time
from collections.abc import Iterator

import torch
from lightning_fabric import Fabric

from unveil.errors import CheckpointError, RecipeError
from unveil.models.base import RestorationModel
from unveil.models.checkpoint import from_pretrained, load_weights
from unveil.models.registry import build_config, create_model
from unveil.training.calibration import TrainingPlan, measure_phases
from unveil.training.checkpoints import TrainingState
from unveil.training.data_loaders import (
    load_seconds,
    step_batches,
    training_batches,
    training_set,
    validation_images,
    worker_count,
)
from unveil.training.devices import is_first_process
from unveil.training.ema import Ema
from unveil.training.micro_batch import check_memory
from unveil.training.optimizer import build_optimizer
from unveil.training.recipe import Phase, Recipe
from unveil.training.recipe_file import dump_recipe
from unveil.training.resume import same_validation, stored_recipe, with_options
from unveil.training.schedule import phase_at
from unveil.training.step import Batch, Clock

PRETRAINED = "pretrained"
_log = logging.getLogger(__name__)


def build_network(recipe: Recipe) -> tuple[Recipe, RestorationModel]:
    """Build the recipe's network with its initial weights.

    Returns:
        The recipe with the network's whole configuration spelled out, so that a run goes on as it
        began where a later version changes a variant's defaults; and the network.

    Raises:
        InputError: The model or one of its options is unknown.
        CheckpointError: The weights cannot be read, or do not fit.
    """
    model = recipe.model
    pretrained = model.weights == PRETRAINED
    start = from_pretrained(model.weights) if model.weights and not pretrained else None
    if start is not None and start.model_id != model.id:
        raise CheckpointError(f"{model.weights}: holds {start.model_id}, not {model.id}")
    config = build_config(model.id, start.config if start is not None else None, **model.options)
    options = config.model_dump(mode="json")
    torch.manual_seed(recipe.seed)
    if start is not None and start.config == config:
        network = start
    else:
        network = create_model(model.id, pretrained=pretrained, **options)
        if start is not None and model.weights is not None:
            load_weights(network, start.state_dict(), model.weights)
    return with_options(recipe, options), network.train()


def check_recipe(recipe: Recipe, network: RestorationModel, device: str, processes: int) -> None:
    """Check that patches suit the network, batches the processes, and precision the device.

    Args:
        recipe: The recipe.
        network: Its network.
        device: Type of the device, `cpu` or `cuda`.
        processes: Processes that share a batch.

    Raises:
        RecipeError: They do not.
    """
    for number, phase in enumerate(recipe.schedule.phases):
        if phase.patch % network.size_multiple:
            raise RecipeError(
                f"schedule.phases.{number}.patch is {phase.patch}, but {recipe.model.id} takes "
                f"multiples of {network.size_multiple}"
            )
        if phase.batch % processes:
            raise RecipeError(
                f"schedule.phases.{number}.batch is {phase.batch}, which {processes} processes "
                "cannot share equally: choose a multiple"
            )
        check_memory(number, phase, phase.batch // processes)
    if recipe.optim.precision == "fp16" and device == "cpu":
        raise RecipeError("optim.precision fp16 needs a GPU: use fp32 or bf16")


class Session:
    """A network, its average, its optimiser and its images, after `step` steps.

    Args:
        recipe: With the network's whole configuration.
        network: With its initial weights, on the CPU.
        fabric: Places the network on devices.
        processes: Processes that share a batch.

    Attributes:
        plan: Steps and micro-batches, once calibrated.
        best: Step and PSNR of the best validation, or empty.
        seconds: Time spent in earlier parts of the run.
        clock: Time per part of the current steps.

    Raises:
        DataError: The images are unusable.
    """

    def __init__(
        self, recipe: Recipe, network: RestorationModel, fabric: Fabric, *, processes: int
    ) -> None:
        self.recipe, self.network, self.fabric = recipe, network, fabric
        self.processes = processes
        self.workers = worker_count(recipe)
        self.dataset = training_set(recipe)
        trained = [path for source in self.dataset.sources for path in source.files]
        first = is_first_process()
        multiple = network.size_multiple
        self.images = validation_images(recipe.evaluation, multiple, trained) if first else []
        self.ema = Ema(network, recipe.optim.ema)
        self.plan: TrainingPlan | None = None
        self.step = 0
        self.best: dict[str, float] = {}
        self.seconds = 0.0
        self.clock = Clock()
        self._began = time.perf_counter()
        self._stored: TrainingState | None = None

    def restore(self, state: TrainingState) -> None:
        """Continue from a stored state; `launch` restores the optimiser.

        Raises:
            CheckpointError: The network has changed since.
        """
        recipe = self.recipe
        try:
            self.network.load_state_dict(state.network)
            self.ema.network.load_state_dict(state.average)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"the checkpoint is of another {recipe.model.id}: resume with the version of "
                f"unveil that wrote it ({reason})"
            ) from error
        self.plan = TrainingPlan.from_dict(state.plan)
        self.step, self.seconds = state.step, state.seconds
        self.ema.set_step(state.step)
        # PSNR of other images does not compare.
        if same_validation(recipe, stored_recipe(state)):
            self.best = dict(state.best)
        if state.photographs and state.photographs != self.dataset.fingerprint:
            _log.warning(
                "the training photographs have changed since: the run goes on with samples that "
                "differ from those of an uninterrupted one"
            )
        self._stored = state

    def launch(self) -> None:
        """Start the other processes; move the network to its device and build the optimiser."""
        fabric = self.fabric
        fabric.launch()
        self.network.to(fabric.device)
        self.ema.to(fabric.device)
        self.optimizer = build_optimizer(self.network, self.recipe.optim)
        self.model, self.fabric_optimizer = fabric.setup(self.network, self.optimizer)
        if self._stored is not None:
            self.optimizer.load_state_dict(self._stored.optimizer)
            fabric.strategy.precision.load_state_dict(self._stored.precision)
            self._stored = None
        self._began = time.perf_counter()

    @property
    def steps(self) -> int:
        """Optimiser steps in all; the session is calibrated."""
        assert self.plan is not None
        return self.plan.steps

    def phase(self) -> tuple[int, Phase]:
        """Return the number and the phase of the coming step."""
        phases = self.recipe.schedule.phases
        phase = phase_at(phases, self.step, self.steps)
        return phases.index(phase), phase

    def batches(self, workers: int | None = None) -> Iterator[Batch]:
        """Load this process' part of each remaining step's batch, on its device.

        Args:
            workers: Loading processes; the session's when None.
        """
        keys = step_batches(
            self.recipe,
            self.steps,
            first_step=self.step,
            rank=self.fabric.global_rank,
            processes=self.processes,
        )
        return training_batches(
            self.dataset,
            keys,
            workers=self.workers if workers is None else workers,
            clock=self.clock,
            device=self.fabric.device,
        )

    def measure(self, micro_batch: tuple[int, ...]) -> tuple[float, ...]:
        """Measure the seconds of a step, loading included, per phase."""
        return measure_phases(
            self.recipe,
            self.network,
            self.fabric,
            micro_batch,
            processes=self.processes,
            load_seconds=load_seconds(self.dataset, self.workers, self.processes),
        )

    def any_process(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return bool(self.fabric.strategy.reduce_boolean_decision(flag, all=False))

    def state(self) -> TrainingState:
        """Return the complete state, from which a later run goes on."""
        assert self.plan is not None
        return TrainingState(
            step=self.step,
            recipe=dump_recipe(self.recipe),
            plan=self.plan.to_dict(),
            network=self.network.state_dict(),
            average=self.ema.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            precision=self.fabric.strategy.precision.state_dict(),
            best=self.best,
            photographs=self.dataset.fingerprint,
            seconds=self.seconds + time.perf_counter() - self._began,
        )
