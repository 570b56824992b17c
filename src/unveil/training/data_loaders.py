"""Data loaders: from a recipe to the mixture of its images, and to batches.

A sample depends on its address (step, index, patch) and the seed alone, see
`unveil.data.TrainingSet`. So the order needs no saved state, and any number of workers or processes
loads the same data.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from unveil.data import (
    FullImages,
    ImageStore,
    SampleKey,
    Source,
    StepBatches,
    TaskWeights,
    TrainingSet,
    check_sources,
    clean_source,
    generated_source,
    paired_source,
    worker_context,
)
from unveil.process import usable_cores
from unveil.training.recipe import Alternative, EvaluationSection, Phase, Recipe, SourceSection
from unveil.training.schedule import phase_at
from unveil.training.step import Batch, Clock
from unveil.training.validation import ValidationImage

_log = logging.getLogger(__name__)


def _open_source(source: SourceSection, degradation: dict[str, float]) -> Source:
    """List a source's files; clean ones are degraded as `degradation` says, with its shares.

    Raises:
        DataError: The folder is missing or empty.
    """
    common: dict[str, Any] = {"task": source.task, "weight": source.weight}
    if source.generated is not None:
        return generated_source(source.generated, degradation, **common)
    common |= {"include": source.include, "exclude": source.exclude}
    if source.pairs is not None:
        return paired_source(source.pairs, source.layout, degradation=source.steps, **common)
    assert source.clean is not None
    return clean_source(source.clean, degradation, shrink=source.shrink, **common)


def _training_sources(recipe: Recipe) -> list[Source]:
    """List the files of all training sources."""
    return [
        _open_source(source, _shares(recipe.degradation.get(source.task, [])))
        for source in recipe.data.train
    ]


def _shares(ways: Iterable[Alternative]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for way in ways:
        description = way.description
        shares[description] = shares.get(description, 0.0) + way.share
    return shares


def training_set(recipe: Recipe) -> TrainingSet:
    """Check all files, decode those that fit into the cache, and build the mixture.

    Raises:
        DataError: A folder is missing or empty; or a file is unusable and `data.skip_bad` is off.
    """
    data = recipe.data
    sources: Sequence[Source] = _training_sources(recipe)
    store = ImageStore(data.cache)
    largest = max(phase.patch for phase in recipe.schedule.phases)
    report = check_sources(sources, min_size=largest, store=store)
    if data.skip_bad:
        for problem in filter(lambda one: one.fatal, report.problems):
            _log.warning("left out: %s", problem)
        sources = report.without_bad(sources)
    else:
        report.require_usable()
    dataset = TrainingSet(sources, seed=recipe.seed, cache_bytes=data.cache, mixup=data.mixup)
    dataset.store = store
    _log.info("%d photographs, %.0f megapixels", report.samples, report.pixels / 1e6)
    return dataset


def validation_images(
    evaluation: EvaluationSection, size_multiple: int, trained: Collection[Path] = ()
) -> list[ValidationImage]:
    """Read and degrade the images of a run's validation.

    Args:
        evaluation: Sets, degradations, number and crop.
        size_multiple: Sides are cut to multiples of it.
        trained: Files the run is trained on; a warning counts those that are validated on, too.
    """
    images = []
    files: set[Path] = set()
    for source in evaluation.sets:
        ways = evaluation.degradations if source.clean is not None else [""]
        for way in ways:
            opened = _few(_open_source(source, {way: 1.0} if way else {}), evaluation.images)
            group = way or source.task
            files.update(opened.files)
            images += [
                _validation_image(sample, group, size_multiple)
                for sample in map(
                    FullImages(opened, crop=evaluation.crop).__getitem__, range(len(opened.pairs))
                )
            ]
    both = len({path.resolve() for path in files} & {path.resolve() for path in trained})
    if both:
        _log.warning("%d of the files to validate on are trained on: scores flatter", both)
    return images


def _few(source: Source, images: int) -> Source:
    """Keep a number of photographs, spread evenly over the folder."""
    count = len(source.pairs)
    chosen = [source.pairs[i * count // images] for i in range(images)] if count > images else None
    return replace(source, pairs=tuple(chosen)) if chosen else source


def _validation_image(sample: Any, group: str, size_multiple: int) -> ValidationImage:
    height, width = (side // size_multiple * size_multiple for side in sample["clean"].shape[1:])
    return ValidationImage(
        name=sample["name"],
        group=group,
        degraded=sample["degraded"][:, :height, :width].contiguous(),
        clean=sample["clean"][:, :height, :width].contiguous(),
    )


def step_batches(
    recipe: Recipe, steps: int, *, first_step: int = 0, rank: int = 0, processes: int = 1
) -> StepBatches:
    """List the addresses of each remaining step's samples.

    Args:
        recipe: Its phases set patch, batch and tasks.
        steps: Steps of the whole training.
        first_step: Step to begin with.
        rank: This process.
        processes: Processes that share a batch.
    """

    def shape(step: int) -> tuple[int, int]:
        phase = phase_at(recipe.schedule.phases, step, steps)
        return phase.batch, phase.patch

    def tasks(step: int) -> TaskWeights:
        return _task_weights(phase_at(recipe.schedule.phases, step, steps))

    return StepBatches(
        shape, steps=steps, first_step=first_step, rank=rank, world_size=processes, tasks=tasks
    )


def _task_weights(phase: Phase) -> TaskWeights:
    return tuple((phase.tasks or {}).items())


def training_batches(
    dataset: Dataset[Any], batches: StepBatches, *, workers: int, clock: Clock, device: torch.device
) -> Iterator[Batch]:
    """Load a run's remaining batches, and move them to the device.

    Args:
        dataset: Makes a sample from an address.
        batches: The addresses, step by step.
        workers: Loading processes; 0 loads within the training process.
        clock: Takes the time spent waiting, as part `data`.
        device: Where tensors go.
    """
    loader = iter(
        DataLoader[Batch](
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            multiprocessing_context=worker_context(workers),
            pin_memory=device.type == "cuda",
        )
    )
    while True:
        with clock.part("data"):
            batch = next(loader, None)
        if batch is None:
            return
        yield {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


def load_seconds(dataset: Dataset[Any], workers: int, processes: int) -> Callable[[Phase], float]:
    """Return a function that measures the seconds by which loading delays a step of a phase.

    Args:
        dataset: Makes a sample from an address.
        workers: Loading processes; with any, loading is taken to delay nothing.
        processes: Processes that share a batch.
    """

    def measure(phase: Phase) -> float:
        if workers:
            return 0.0
        share = phase.batch // processes
        start = time.perf_counter()
        for index in range(share):
            dataset[SampleKey(0, index, phase.patch, _task_weights(phase))]
        return time.perf_counter() - start

    return measure


def worker_count(recipe: Recipe) -> int:
    """Return the loading processes: the recipe's, or none on few cores and up to 4 on more."""
    if recipe.data.workers is not None:
        return recipe.data.workers
    cores = usable_cores()
    return 0 if cores <= 2 else min(4, cores // 2)
