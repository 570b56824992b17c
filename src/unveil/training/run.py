"""Run a training: build what the recipe names, decide the plan, hand over to Lightning."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from unveil.data import TrainingSet
from unveil.data.pairing import existing_folder
from unveil.errors import CheckpointError
from unveil.models.base import ModelConfig, RestorationModel
from unveil.models.checkpoint import from_pretrained, load_weights
from unveil.models.registry import build_config, create_model
from unveil.training.batches import default_workers, training_set, validation_pairs
from unveil.training.checkpoints import load_state
from unveil.training.fitting import Feed, Planner, make_trainer, quiet_lightning
from unveil.training.folder import (
    CHECKPOINTS,
    check_folder,
    check_outside,
    check_same,
    check_space,
    prepare_folder,
    stored_recipe,
    write_recipe,
)
from unveil.training.keeping import Keeper
from unveil.training.logs import RunLogs
from unveil.training.machine import Machine
from unveil.training.module import RestorationModule
from unveil.training.plan import check_precision, check_shapes
from unveil.training.progress import Reporter
from unveil.training.recipe import ModelSection, Recipe
from unveil.training.stopping import StopOnSignal
from unveil.training.validation import Pair

PRETRAINED = "pretrained"


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

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
        """Say in a line how it ended and where the weights are."""
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


def build_network(recipe: Recipe) -> RestorationModel:
    """Build the recipe's network with its initial weights.

    Raises:
        InputError: The model or one of its options is unknown.
        CheckpointError: The weights do not fit.
    """
    torch.manual_seed(recipe.seed)
    model = recipe.model
    network = create_model(model.id, pretrained=model.weights == PRETRAINED, **model.options)
    if model.weights not in (None, PRETRAINED):
        load_weights(network, from_pretrained(model.weights).state_dict(), model.weights)
    return network.train()


def resolve_model(recipe: Recipe) -> Recipe:
    """Spell out the network's whole configuration.

    So a run goes on as it began, even where a later version changes a variant's defaults.

    Raises:
        InputError: The model or one of its options is unknown.
        CheckpointError: The weights to start from cannot be read or are another network's.
    """
    model = recipe.model
    options = build_config(model.id, _outline_of(model), **model.options).model_dump(mode="json")
    return _with_options(recipe, options)


def _with_options(recipe: Recipe, options: dict[str, Any]) -> Recipe:
    model = recipe.model.model_copy(update={"options": options})
    return recipe.model_copy(update={"model": model})


def _outline_of(model: ModelSection) -> ModelConfig | None:
    """Return the configuration of the file that the network starts from, None if there is none."""
    if model.weights in (None, PRETRAINED):
        return None
    start = from_pretrained(model.weights)
    if start.model_id != model.id:
        raise CheckpointError(f"{model.weights}: holds {start.model_id}, not {model.id}")
    return start.config


def _continued(recipe: Recipe, stored: Recipe) -> Recipe:
    """Give a recipe the stored run's outline, where it does not ask for another.

    The weights that the run began with are not looked at: they may be gone.

    Raises:
        RecipeError: A key that decides the weights differs.
    """
    model, before = recipe.model, stored.model
    if model.id == before.id:
        outline = build_config(before.id, **before.options)
        now = build_config(model.id, outline, **model.options).model_dump(mode="json")
        then = outline.model_dump(mode="json")
        recipe, stored = _with_options(recipe, now), _with_options(stored, then)
    check_same(recipe, stored)
    return recipe


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    machine: Machine | None = None,
    console: Console | None = None,
) -> Outcome:
    """Train a network by a recipe.

    The folder gets `recipe.yaml`, `checkpoints/`, `train.csv`, `validation.csv`, `tensorboard/`,
    `pictures/`, the latest averaged weights and, in `best/`, the best ones.

    Args:
        recipe: What to train, on what, how long.
        out: Folder of the run.
        resume: Go on from the folder's last checkpoint.
        force: Delete an earlier run in the folder.
        machine: What to train on; one process on the best device when None.
        console: Where progress is shown; None shows nothing.

    Returns:
        How it ended: all steps done, or stopped by a signal with a checkpoint written.

    Raises:
        UnveilError: The recipe, the data or the folder is unusable, or the loss is not finite.
    """
    machine, out = machine or Machine(), Path(out)
    state = load_state(out / CHECKPOINTS) if resume else None
    if state is None:
        recipe = resolve_model(recipe)
        network = build_network(recipe)
    else:
        recipe = _continued(recipe, stored_recipe(state))
        network = create_model(recipe.model.id, **recipe.model.options)
    check_shapes(recipe, network.size_multiple, machine.processes)
    check_precision(recipe, machine.device())
    first = is_first_process()
    if first:
        check_folder(out, resume=resume, force=force)
        check_space(out, sum(p.numel() * p.element_size() for p in network.parameters()))
        sources = () if resume else (*recipe.data.train, *recipe.evaluation.sets)
        check_outside(out, (existing_folder(one.folder) for one in sources if one.folder))
    dataset = training_set(recipe)
    trained = [path for source in dataset.sources for path in source.files]
    pairs = validation_pairs(recipe.evaluation, network.size_multiple, trained) if first else []
    module = RestorationModule(network, recipe, out, dataset.fingerprint)
    if state is not None:
        module.resume_from(state)
        if state.step >= module.decided.steps:
            return Outcome(state.step, state.step, None, state.best, None)
    if first:
        # Only now is nothing left that could be wrong with recipe or data.
        prepare_folder(out, keep=resume)
        write_recipe(recipe, out)
    return _fit(module, dataset, pairs, out, machine, console)


def _fit(
    module: RestorationModule,
    dataset: TrainingSet,
    pairs: list[Pair],
    out: Path,
    machine: Machine,
    console: Console | None,
) -> Outcome:
    recipe = module.recipe
    workers = recipe.data.workers if recipe.data.workers is not None else default_workers()
    feed = Feed(dataset, workers)
    stop = StopOnSignal()
    logs = RunLogs(out, list(dict.fromkeys(p.group for p in pairs)), module.step) if pairs else None
    keeper = Keeper(out, pairs, logs) if logs else None
    # Stopping is decided before keeping, so that the last step is kept.
    callbacks: list[Callback] = [stop, Planner(feed, pairs, logs), Reporter(logs, console)]
    callbacks += [keeper] if keeper else []
    try:
        with quiet_lightning(), stop:
            make_trainer(recipe, out, machine, callbacks).fit(module, datamodule=feed)
    finally:
        if logs:
            logs.close()
    return Outcome(
        step=module.step,
        steps=module.decided.steps,
        psnr=keeper.latest.psnr if keeper and keeper.latest else None,
        best=module.best,
        signal=stop.received.name if stop.received else None,
    )


def is_first_process() -> bool:
    """Say whether this process reports for all of them."""
    return getattr(rank_zero_only, "rank", 0) == 0
