"""Whole photos for validation and evaluation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from unveil.data.sources import Source
from unveil.data.training_set import Sample, to_tensor
from unveil.degradations import Frame, Pipeline
from unveil.errors import DataError, InputError
from unveil.imaging import load_rgb


def to_unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Scale samples to [0, 1] float32 by the range of their type; float stays as it is.

    >>> to_unit(np.array([0, 65535], np.uint16)).tolist()
    [0.0, 1.0]
    """
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


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
        self, start: NDArray[np.float32], clean: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        height, width = clean.shape[:2]
        if self.crop is None or (self.crop >= height and self.crop >= width):
            return self._pipeline(start, rng), clean
        rows = min(self.crop, height)
        columns = min(self.crop, width)
        top, left = (height - rows) // 2, (width - columns) // 2
        margin = self._pipeline.margin
        above, before = min(margin, top // 8 * 8), min(margin, left // 8 * 8)
        window = np.ascontiguousarray(
            start[top - above : top + rows + margin, left - before : left + columns + margin]
        )
        degraded = self._pipeline(window, rng, Frame(top - above, left - before, height, width))
        return (
            degraded[above : above + rows, before : before + columns],
            clean[top : top + rows, left : left + columns],
        )
