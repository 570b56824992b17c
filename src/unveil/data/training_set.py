"""Patches for training, each decided by its address alone."""

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from unveil.data.crop import FloatImage, degrade_shrunk, degrade_window
from unveil.data.generated import draw_generated
from unveil.data.image_cache import ImageStore
from unveil.data.pairing import Pair
from unveil.data.sampling import SampleKey, TaskWeights
from unveil.data.sources import Source
from unveil.degradations import Pipeline
from unveil.errors import DataError, InputError

_GOLDEN = (np.sqrt(5) - 1) / 2
_MIXUP_BETA = 1.2


class Sample(TypedDict):
    """One patch: ``degraded`` and ``clean`` are ``(3, h, w)`` float32, [0, 1] unless noisy."""

    degraded: torch.Tensor
    clean: torch.Tensor
    name: str
    task: str


class TrainingSet(Dataset[Sample]):
    """Samples of a mixture of sources, addressed by `SampleKey`.

    A sample's randomness (source, photo, place, values of the degradation, its noise, flip and
    rotation, mixup) comes from a generator seeded by (seed, step, index). Use it with a
    `StepBatches` sampler::

        batches = StepBatches(plan, steps=1000)
        loader = DataLoader(
            training_set,
            batch_sampler=batches,
            num_workers=2,
            multiprocessing_context=worker_context(2),
        )
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        seed: int = 0,
        cache_bytes: int = 4 * 2**30,
        augment: bool = True,
        mixup: float = 0.0,
    ) -> None:
        """Take the sources; no file is read yet.

        Args:
            sources: Mixed by their weights.
            seed: Of all randomness.
            cache_bytes: Memory for decoded photos, see `ImageStore`.
            augment: Whether to flip and rotate by multiples of 90 degrees.
            mixup: Share of samples blended with another one of the same source, by a weight from
                Beta(1.2, 1.2).

        Raises:
            DataError: There is no photo at all, or a clean source has no degradation.
        """
        if not sources or any(not (source.pairs or source.generated) for source in sources):
            raise DataError("a training set needs at least one source, and a photo in each")
        for source in sources:
            if not source.degradations and any(pair.degraded is None for pair in source.pairs):
                raise DataError(
                    f"task {source.task!r} has clean photos but no degradation; give one"
                )
        self.sources = tuple(sources)
        self.seed, self.augment, self.mixup = seed, augment, mixup
        self.store = ImageStore(cache_bytes)
        self._process = os.getpid()
        self._bounds: dict[TaskWeights, np.ndarray[Any, Any]] = {}

    @property
    def fingerprint(self) -> str:
        """Hash of the photographs' names and order, on which every draw depends."""
        names = [
            [pair.name for pair in source.pairs] or list(source.generated)
            for source in self.sources
        ]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()

    def sample(self, step: int, index: int, patch: int, tasks: TaskWeights = ()) -> Sample:
        """Make the sample of an address.

        Args:
            step: Optimiser step.
            index: Place in the global batch.
            patch: Side of the square patch, in pixels.
            tasks: What the tasks weigh in this step, in place of the sum of their sources' weights;
                sources of a task share its weight in proportion to their own.

        Returns:
            The sample.

        Raises:
            ImageFileError: Its photo cannot be read.
            DataError: The two photos of a pair differ in size.
            InputError: This process was forked from the one that made the set; or none of the tasks
                has a source.
        """
        if os.getpid() != self._process:
            raise InputError(
                "worker processes were forked, in which image decoding hangs; "
                "give the DataLoader multiprocessing_context=worker_context(workers)"
            )
        rng = np.random.default_rng((self.seed, step, index))
        source = self.sources[self._source_of(step, index, tasks)]
        degraded, clean, name = self._draw(source, patch, rng)
        if self.mixup and rng.random() < self.mixup:
            weight = np.float32(rng.beta(_MIXUP_BETA, _MIXUP_BETA))
            other_degraded, other_clean, _ = self._draw(source, patch, rng)
            degraded = weight * degraded + (1 - weight) * other_degraded
            clean = weight * clean + (1 - weight) * other_clean
        return {
            "degraded": to_tensor(degraded),
            "clean": to_tensor(clean),
            "name": name,
            "task": source.task,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in another process."""
        self.__dict__.update(state)
        self._process = os.getpid()

    def __getitem__(self, key: SampleKey) -> Sample:
        """Make the sample of a key, see `sample`."""
        return self.sample(key.step, key.index, key.patch, key.tasks)

    def _source_of(self, step: int, index: int, tasks: TaskWeights) -> int:
        """Choose the source so that every batch has each task's share to within a sample.

        Multiples of the golden ratio, shifted at random per step, fill [0, 1) evenly.
        """
        if len(self.sources) == 1:
            return 0
        # Entropy is padded with zeros: (seed, step) alone is the stream of the first sample.
        shift = np.random.default_rng((self.seed, step, 0, 1)).random()
        place = (shift + index * _GOLDEN) % 1
        return int(np.searchsorted(self._shares(tasks), place, side="right"))

    def _shares(self, tasks: TaskWeights) -> "np.ndarray[Any, Any]":
        """Return where in [0, 1) each source's share ends."""
        if tasks not in self._bounds:
            sums = [s.weight for s in self.sources]
            if tasks:
                total = {task: 0.0 for task, _ in tasks}
                for source in self.sources:
                    total[source.task] = total.get(source.task, 0.0) + source.weight
                wanted = dict(tasks)
                sums = [s.weight / total[s.task] * wanted.get(s.task, 0.0) for s in self.sources]
            if not sum(sums) > 0:
                raise InputError(f"no source has a task among {dict(tasks)}")
            ends = np.cumsum(sums, dtype=np.float64)
            self._bounds[tasks] = ends / ends[-1]
        return self._bounds[tasks]

    def _draw(
        self, source: Source, patch: int, rng: np.random.Generator
    ) -> tuple[FloatImage, FloatImage, str]:
        if source.generated:
            name = source.generated[int(rng.integers(len(source.generated)))]
            degraded, clean = _generate(name, _choose(source, rng), patch, rng)
        else:
            pair = source.pairs[int(rng.integers(len(source.pairs)))]
            name, pipeline = pair.name, _choose(source, rng)
            degraded, clean = self._crop(pair, pipeline, patch, source.shrink, rng)
        if self.augment:
            turn = int(rng.integers(8))
            degraded, clean = flip_rotate(degraded, turn), flip_rotate(clean, turn)
        return degraded, clean, name

    def _crop(
        self, pair: Pair, pipeline: Pipeline, patch: int, shrink: float, rng: np.random.Generator
    ) -> tuple[FloatImage, FloatImage]:
        """Cut a patch out of a pair; photos smaller than the patch are mirrored."""
        photo = self.store.get(pair.clean)
        start = photo if pair.degraded is None else self.store.get(pair.degraded)
        if start.shape != photo.shape:
            raise DataError(
                f"{pair.degraded} is {start.shape[1]}x{start.shape[0]} but {pair.clean} is "
                f"{photo.shape[1]}x{photo.shape[0]}; run `unveil data check` and repair the pair"
            )
        if shrink > 1:
            factor = shrink ** rng.random()
            return degrade_shrunk(photo, pipeline, rng, factor, patch)
        top, left = (int(rng.integers(max(1, size - patch + 1))) for size in photo.shape[:2])
        truth = None if pair.degraded is None else photo
        return degrade_window(start, pipeline, rng, (top, left), (patch, patch), truth)


def flip_rotate(image: FloatImage, turn: int) -> FloatImage:
    """Apply one of the 8 symmetries of the square; a view.

    Args:
        image: ``(h, w, c)``.
        turn: 0 (unchanged) to 7; from 4 on mirrored, then rotated by 90 degrees ``turn % 4`` times.

    Returns:
        ``(h, w, c)`` or ``(w, h, c)``.

    Raises:
        InputError: `turn` is not one of the 8.

    >>> len({flip_rotate(np.arange(4.0).reshape(2, 2, 1), t).tobytes() for t in range(8)})
    8
    """
    if not 0 <= turn < 8:
        raise InputError(f"got turn {turn}, expected 0..7")
    mirrored = image[:, ::-1] if turn >= 4 else image
    return np.rot90(mirrored, turn % 4)


def to_tensor(image: FloatImage) -> torch.Tensor:
    """Turn ``(h, w, 3)`` into a contiguous ``(3, h, w)`` tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _generate(
    kind: str, pipeline: Pipeline, patch: int, rng: np.random.Generator
) -> tuple[FloatImage, FloatImage]:
    """Draw a picture and degrade its middle, so that filters find pixels beyond the patch."""
    margin = pipeline.margin
    picture = draw_generated(kind, patch + 2 * margin, rng)
    return degrade_window(picture, pipeline, rng, (margin, margin), (patch, patch))


def _choose(source: Source, rng: np.random.Generator) -> Pipeline:
    if len(source.degradations) <= 1:
        return source.degradations[0][0] if source.degradations else Pipeline()
    shares = np.cumsum([share for _, share in source.degradations])
    return source.degradations[
        int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))
    ][0]
