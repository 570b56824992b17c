"""A restored picture as the network's change to it, so that any strength is a blend."""

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from unveil.errors import InputError, OutputError
from unveil.imaging import Image, write_image
from unveil.imaging.formats import format_named
from unveil.imaging.image import Array
from unveil.imaging.scratch import allocate_like, release
from unveil.inference.plan import Naming
from unveil.inference.readout import Sighting
from unveil.inference.restorer import read_source
from unveil.inference.samples import add_residual
from unveil.serve.preview import to_preview
from unveil.serve.store import Store

Report = Sighting
Pixels = npt.NDArray[np.uint8]

_ROWS = 256


@dataclass(frozen=True)
class Restored:
    """What a network made of a picture.

    Attributes:
        source: The upload.
        size: Width and height in pixels, upright.
        seconds: Time the network took.
        model: Id of the network.
        task: What it was asked to do.
        tiles: In how many parts it was done.
        report: What the network sees in the picture; None when it does not tell or was not asked.
    """

    source: Path
    size: tuple[int, int]
    seconds: float
    model: str
    task: str
    tiles: int
    report: Report | None
    change: Path = field(repr=False)
    max_megapixels: float = field(repr=False)
    store: Store = field(repr=False)
    # Decoding takes memory by the image: one at a time, however many ask.
    turn: threading.Lock = field(repr=False)

    def write(
        self,
        target: Path,
        *,
        strength: float = 1.0,
        format: str | None = None,  # noqa: A002
        quality: int | None = None,
    ) -> Path:
        """Write the restored picture, as `unveil restore` does.

        Args:
            target: The file, whose suffix names the format unless `format` does; or a folder.
            strength: 0–1, share of the network's change that is applied.
            format: As `unveil restore --format`; None keeps that of the upload.
            quality: As `unveil.imaging.write_image`.

        Returns:
            The file that was written.

        Raises:
            InputError: If `strength` or `quality` is out of range.
            ImageFileError: If there is no such format.
            OutputError: If the format cannot hold the picture, or its files are no longer kept.
            BusyError: If the server's disk is full.
        """
        if not 0 <= strength <= 1:
            raise InputError(f"strength is 0 to 1, got {strength}")
        kind = format_named(format) if format else None
        if target.is_dir():
            target = target / Naming(format=kind)(self.source)
        elif kind is not None:
            target = target.with_suffix(kind.suffixes[0])
        with self.turn, self.store.holding(self.source):
            image = self._image()
            out = allocate_like(image)
            self._blend(image.pixels, strength, out)
            write_image(target, replace(image, pixels=out), quality=quality)
        return target

    def before(self) -> Pixels:
        """Return the upload as ``(h, w, 3)`` 8-bit samples, upright, without transparency.

        Raises:
            OutputError: If its files are no longer kept.
        """
        with self.turn, self.store.holding(self.source):
            return to_preview(self._samples())

    def after(self, strength: float = 1.0) -> Pixels:
        """Return the restored picture as ``(h, w, 3)`` 8-bit samples; the network does not run.

        Args:
            strength: 0–1, share of the network's change that is applied.

        Raises:
            OutputError: If its files are no longer kept.
        """
        with self.turn, self.store.holding(self.source):
            samples, change = self._samples(), self._change()
            width, height = self.size
            out = np.empty((height, width, 3), np.uint8)
            for rows in _strips(height):
                blended = np.empty_like(samples[rows])
                add_residual(samples[rows], strength * change[rows], blended)
                out[rows] = to_preview(blended)
            return out

    def discard(self) -> None:
        """Remove what was made of the upload, which itself stays."""
        with self.turn:
            for file in (self.change, self._decoded):
                file.unlink(missing_ok=True)

    @property
    def _decoded(self) -> Path:
        return self.change.with_suffix(".npy")

    def _image(self) -> Image:
        if not (self.source.exists() and self.change.exists()):
            raise OutputError(f"{self.source.name}: no longer kept here; restore it again")
        return read_source(self.source, self.max_megapixels)

    def _samples(self) -> Array:
        """Return the upload's samples, which lie decoded beside it once they have been asked for.

        A preview at another strength must not wait for the decoder.
        """
        file = self._decoded
        if not file.exists():
            image = self._image()
            part = file.with_suffix(".part")
            stored = self.store.create(part, image.pixels.shape, image.pixels.dtype)
            for rows in _strips(len(stored)):
                stored[rows] = image.pixels[rows]
                release(image.pixels)
                release(stored)
            part.rename(file)
        return cast("Array", np.load(file, mmap_mode="r"))

    def _change(self) -> Array:
        return cast("Array", np.load(self.change, mmap_mode="r"))

    def _blend(self, pixels: Array, strength: float, out: Array) -> None:
        change = self._change()
        for rows in _strips(len(pixels)):
            add_residual(pixels[rows], strength * change[rows], out[rows])
            for array in (pixels, change, out):
                release(array)


def _strips(height: int) -> list[slice]:
    return [slice(top, min(top + _ROWS, height)) for top in range(0, height, _ROWS)]
