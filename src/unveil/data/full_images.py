"""Whole photos for validation and evaluation."""

import numpy as np
from torch.utils.data import Dataset

from unveil.data.crop import FloatImage, degrade_window
from unveil.data.sources import Source
from unveil.data.training_set import Sample, to_tensor
from unveil.degradations import Pipeline
from unveil.errors import DataError, InputError
from unveil.imaging import load_rgb
from unveil.imaging.convert import to_unit


class FullImages(Dataset[Sample]):
    """Every photo of a source once, at full bit depth, degraded by (seed, index).

    The photo at an index is degraded the same way in every run, in any order of access.
    """

    def __init__(self, source: Source, *, seed: int = 0, crop: int | None = None) -> None:
        """Take a source; no file is read yet.

        Args:
            source: With one degradation at most: an evaluation mixes nothing.
            seed: Of the degradations.
            crop: Side of the centre crop, in pixels; None takes whole photos. Crops are degraded
                as parts of their photo.

        Raises:
            InputError: The source has several degradations.
        """
        if len(source.degradations) > 1:
            raise InputError(
                f"task {source.task!r} has {len(source.degradations)} degradations, "
                "expected one; evaluate them one by one"
            )
        self.source, self.seed, self.crop = source, seed, crop
        self._pipeline = source.degradations[0][0] if source.degradations else Pipeline()

    def __len__(self) -> int:
        return len(self.source.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Read and degrade a photo.

        Raises:
            IndexError: There is no such photo.
            ImageFileError: The file cannot be read.
            DataError: The two photos of a pair differ in size.
        """
        pair = self.source.pairs[index]
        clean = to_unit(load_rgb(pair.clean))
        start = clean if pair.degraded is None else to_unit(load_rgb(pair.degraded))
        if start.shape != clean.shape:
            raise DataError(
                f"{pair.degraded} and {pair.clean} differ in size; run `unveil data check`"
            )
        rng = np.random.default_rng((self.seed, 0, index))
        degraded, clean = self._degrade(start, clean, rng)
        return {
            "degraded": to_tensor(degraded),
            "clean": to_tensor(clean),
            "name": pair.name,
            "task": self.source.task,
        }

    def _degrade(
        self, start: FloatImage, clean: FloatImage, rng: np.random.Generator
    ) -> tuple[FloatImage, FloatImage]:
        height, width = clean.shape[:2]
        truth = None if start is clean else clean
        if self.crop is None:
            return self._pipeline.pair(start, rng, truth=truth)
        rows, columns = min(self.crop, height), min(self.crop, width)
        corner = (height - rows) // 2, (width - columns) // 2
        return degrade_window(start, self._pipeline, rng, corner, (rows, columns), truth)
