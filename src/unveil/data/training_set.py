"""Patches for training, each decided by its address alone."""

from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from unveil.data.pairing import Pair
from unveil.data.sampling import SampleKey
from unveil.data.sources import Source
from unveil.data.store import ImageStore
from unveil.degradations import Frame, Pipeline
from unveil.errors import DataError, InputError

Pixels = NDArray[np.float32]
_GOLDEN = (np.sqrt(5) - 1) / 2
_MIXUP_BETA = 1.2


class Sample(TypedDict):
    """One patch: ``degraded`` and ``clean`` are (3, h, w) float32, range [0, 1] unless noisy."""

    degraded: torch.Tensor
    clean: torch.Tensor
    name: str
    task: str


class TrainingSet(Dataset[Sample]):
    """Samples of a mixture of sources, addressed by `SampleKey`.

    A sample's randomness (source, photo, place, values of the degradation, its noise, flip and
    rotation, mixup) comes from a generator seeded by (seed, step, index). Use it with a
    `StepBatches` sampler::

        loader = DataLoader(training_set, batch_sampler=StepBatches(plan, steps=1000))
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
        if not sources or any(not source.pairs for source in sources):
            raise DataError("a training set needs at least one source, and a photo in each")
        for source in sources:
            if not source.degradations and any(pair.degraded is None for pair in source.pairs):
                raise DataError(
                    f"task {source.task!r} has clean photos but no degradation; give one"
                )
        self.sources = tuple(sources)
        self.seed, self.augment, self.mixup = seed, augment, mixup
        self.store = ImageStore(cache_bytes)
        weights = np.cumsum([source.weight for source in sources], dtype=np.float64)
        self._bounds = weights / weights[-1]

    def preload(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Decode photos into memory until the limit; do this before workers start.

        Args:
            progress: Called with the number done and the number of all.

        Returns:
            How many photos are in memory.

        Raises:
            ImageFileError: A file cannot be read.
        """
        files = [path for source in self.sources for path in source.files]
        return self.store.preload(files, progress=progress)

    def sample(self, step: int, index: int, patch: int) -> Sample:
        """Make the sample of an address.

        Args:
            step: Optimiser step.
            index: Place in the global batch.
            patch: Side of the square patch, in pixels.

        Returns:
            The sample.

        Raises:
            ImageFileError: Its photo cannot be read.
            DataError: The two photos of a pair differ in size.
        """
        rng = np.random.default_rng((self.seed, step, index))
        source = self.sources[self._source_of(step, index)]
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

    def __getitem__(self, key: SampleKey) -> Sample:
        """Make the sample of a key, see `sample`."""
        return self.sample(key.step, key.index, key.patch)

    def _source_of(self, step: int, index: int) -> int:
        """Choose the source so that every batch has each task's share to within a sample.

        Multiples of the golden ratio, shifted at random per step, fill [0, 1) evenly.
        """
        shift = np.random.default_rng((self.seed, step)).random()
        return int(np.searchsorted(self._bounds, (shift + index * _GOLDEN) % 1, side="right"))

    def _draw(
        self, source: Source, patch: int, rng: np.random.Generator
    ) -> tuple[Pixels, Pixels, str]:
        pair = source.pairs[int(rng.integers(len(source.pairs)))]
        pipeline = _choose(source, rng)
        degraded, clean = self._crop(pair, pipeline, patch, rng)
        if self.augment:
            turn = int(rng.integers(8))
            degraded, clean = flip_rotate(degraded, turn), flip_rotate(clean, turn)
        return degraded, clean, pair.name

    def _crop(
        self, pair: Pair, pipeline: Pipeline, patch: int, rng: np.random.Generator
    ) -> tuple[Pixels, Pixels]:
        """Cut a patch out of a pair; what is to be degraded gets a margin first, cut off after."""
        photo = self.store.get(pair.clean)
        start = photo if pair.degraded is None else self.store.get(pair.degraded)
        if start.shape != photo.shape:
            raise DataError(
                f"{pair.degraded} is {start.shape[1]}x{start.shape[0]} but {pair.clean} is "
                f"{photo.shape[1]}x{photo.shape[0]}; run `unveil data check` and repair the pair"
            )
        photo, start = _at_least(photo, patch), _at_least(start, patch)
        height, width = photo.shape[:2]
        top = int(rng.integers(height - patch + 1))
        left = int(rng.integers(width - patch + 1))
        clean = _unit(photo[top : top + patch, left : left + patch])
        if not pipeline.steps:
            return _unit(start[top : top + patch, left : left + patch]), clean
        # Whole blocks of 8, so that a patch keeps its place on JPEG's grid.
        above = min(pipeline.margin, top // 8 * 8)
        before = min(pipeline.margin, left // 8 * 8)
        bottom, right = top + patch + pipeline.margin, left + patch + pipeline.margin
        window = _unit(start[top - above : bottom, left - before : right])
        frame = Frame(top - above, left - before, height, width)
        degraded = pipeline(window, rng, frame)
        return degraded[above : above + patch, before : before + patch], clean


def flip_rotate(image: Pixels, turn: int) -> Pixels:
    """Apply one of the 8 symmetries of the square; a view.

    Args:
        image: (h, w, c).
        turn: 0 (unchanged) to 7; from 4 on mirrored, then rotated by 90 degrees ``turn % 4`` times.

    Returns:
        (h, w, c) or (w, h, c).

    Raises:
        InputError: `turn` is not one of the 8.

    >>> len({flip_rotate(np.arange(4.0).reshape(2, 2, 1), t).tobytes() for t in range(8)})
    8
    """
    if not 0 <= turn < 8:
        raise InputError(f"got turn {turn}, expected 0..7")
    mirrored = image[:, ::-1] if turn >= 4 else image
    return np.rot90(mirrored, turn % 4)


def to_tensor(image: Pixels) -> torch.Tensor:
    """Turn (h, w, 3) into a contiguous (3, h, w) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _choose(source: Source, rng: np.random.Generator) -> Pipeline:
    if len(source.degradations) <= 1:
        return source.degradations[0][0] if source.degradations else Pipeline()
    shares = np.cumsum([share for _, share in source.degradations])
    return source.degradations[
        int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))
    ][0]


def _at_least(photo: NDArray[np.uint8], patch: int) -> NDArray[np.uint8]:
    """Mirror a photo's edges outwards where it is smaller than a patch."""
    short = [max(0, patch - size) for size in photo.shape[:2]]
    if not any(short):
        return photo
    return np.pad(photo, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")


def _unit(levels: NDArray[np.uint8]) -> Pixels:
    return levels.astype(np.float32) / np.float32(255)
