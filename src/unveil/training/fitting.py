"""Lightning's side of a run: the feed of batches, the plan made at its start, the trainer."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy

from unveil.data import TrainingSet
from unveil.training.batches import TimedLoader, build_loader, load_seconds, step_batches
from unveil.training.logs import RunLogs
from unveil.training.machine import Machine
from unveil.training.module import RestorationModule
from unveil.training.plan import Plan, measure_phases, micro_batches, steps_within
from unveil.training.recipe import Recipe
from unveil.training.validation import Pair, validate

_log = logging.getLogger(__name__)
_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


class Feed(LightningDataModule):
    """The batches of the steps that remain.

    Args:
        dataset: Makes samples from addresses.
        workers: Loading processes.
    """

    def __init__(self, dataset: TrainingSet, workers: int) -> None:
        super().__init__()
        self.dataset = dataset
        self.workers = workers

    def train_dataloader(self) -> TimedLoader:
        """Build the loader; the plan is decided by now."""
        trainer = self.trainer
        assert trainer is not None
        module = trainer.lightning_module
        assert isinstance(module, RestorationModule)
        batches = step_batches(
            module.recipe,
            module.decided.steps,
            first_step=module.step,
            rank=trainer.global_rank,
            processes=trainer.world_size,
        )
        return build_loader(
            self.dataset,
            batches,
            workers=self.workers,
            clock=module.clock,
            pin_memory=module.device.type == "cuda",
        )


class Planner(Callback):
    """Decide the plan at the start of a new run: all measure, the first process decides.

    Args:
        feed: Where samples come from, to time them.
        pairs: Photographs to validate on; empty on all processes but the first.
        logs: Where the scores at the start go.
    """

    def __init__(self, feed: Feed, pairs: Sequence[Pair], logs: RunLogs | None) -> None:
        self.feed = feed
        self.pairs = pairs
        self.logs = logs

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and decide, unless the run goes on with a stored plan."""
        assert isinstance(pl_module, RestorationModule)
        if pl_module.plan is None:
            scoring = self.score_start(pl_module) if trainer.is_global_zero else 0.0
            # All measure at once: alone on the machine a process is faster than beside the others.
            trainer.strategy.barrier()
            content = self.decide(pl_module, trainer.world_size, scoring).to_dict()
            pl_module.plan = Plan.from_dict(trainer.strategy.broadcast(content, src=0))

    def score_start(self, module: RestorationModule) -> float:
        """Score the network as it begins: what training adds to; return the seconds it took."""
        network = module.network.eval()
        validate(network, self.pairs[:1])  # the first image pays for allocations
        start = validate(network, self.pairs)
        network.train()
        if self.logs is not None:
            self.logs.validation(0, start)
        module.start = start
        _log.info("validation at the start: %.2f dB in %.1f s", start.psnr, start.seconds)
        return start.seconds

    def decide(self, module: RestorationModule, processes: int, scoring: float) -> Plan:
        """Choose the micro-batches and, for a duration, measure the speed of every phase."""
        recipe, network = module.recipe, module.network
        micro_batch = micro_batches(recipe, network, processes)
        if recipe.schedule.steps is not None:
            return Plan(recipe.schedule.steps, micro_batch)
        loading = load_seconds(self.feed.dataset, self.feed.workers, processes)
        speeds = measure_phases(
            recipe, network, micro_batch, processes=processes, load_seconds=loading
        )
        steps = steps_within(recipe, speeds, scoring)
        if module.global_rank == 0:
            _log.info("%s are %d steps", recipe.schedule.duration, steps)
        return Plan(steps, micro_batch, speeds)


def make_trainer(
    recipe: Recipe, out: Path, machine: Machine, callbacks: Sequence[Callback]
) -> Trainer:
    """Build Lightning's trainer; logs, checkpoints and progress are our own callbacks."""
    return Trainer(
        accelerator="gpu" if machine.device().type == "cuda" else "cpu",
        devices=machine.devices,
        num_nodes=machine.nodes,
        strategy=DDPStrategy() if machine.processes > 1 else "auto",
        precision=_PRECISION[recipe.optim.precision],
        callbacks=list(callbacks),
        default_root_dir=out,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's banners and its advice on workers and loggers off the terminal."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    former = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for text in _ADVICE:
                warnings.filterwarnings("ignore", message=text)
            yield
    finally:
        for logger, level in zip(loggers, former, strict=True):
            logger.setLevel(level)


_ADVICE = (
    r".*does not have many workers.*",
    r".*`train_dataloader` does not.*",
    r".*GPU available but not used.*",
    r".*Starting from v1\.9\.0.*",
    r".*isinstance\(treespec, LeafSpec\).*",
)
