"""A restored picture as the network's change to it, so that any strength is a blend."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np

from unveil.errors import OutputError
from unveil.imaging import Image, write_image
from unveil.imaging.convert import to_unit
from unveil.imaging.format_losses import losses
from unveil.imaging.formats import format_named, format_of_suffix
from unveil.imaging.image import Array, Uint8Image
from unveil.inference.change import with_change
from unveil.inference.image_files import read_source
from unveil.inference.naming import Naming
from unveil.inference.strength import Strength
from unveil.process import trim
from unveil.serve.preview import write_preview
from unveil.serve.store import Store


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
    """

    source: Path
    size: tuple[int, int]
    seconds: float
    model: str
    task: str
    tiles: int
    changes: tuple[Path, ...] = field(repr=False)
    max_megapixels: float = field(repr=False)
    store: Store = field(repr=False)
    # One image is decoded at a time, which bounds the memory of many requests.
    turn: threading.Lock = field(repr=False)
    # What a result does not keep of the upload, in words, by its file.
    lost: dict[Path, list[str]] = field(default_factory=dict, repr=False)

    def write(
        self,
        target: Path,
        *,
        strength: Strength | None = None,
        format: str | None = None,  # noqa: A002
        quality: int | None = None,
        mask: Uint8Image | None = None,
    ) -> Path:
        """Write the restored picture, as `unveil restore` does.

        Args:
            target: The file, whose suffix names the format unless `format` does; or a folder.
            strength: Share of the network's change that is applied; None applies it whole.
            format: As `unveil restore --format`; None keeps that of the upload.
            quality: As `unveil.imaging.write_image`.
            mask: ``(h', w')`` of any size, spread over the picture: restored where 255, as it was
                where 0.

        Returns:
            The file that was written.

        Raises:
            InputError: If `quality` is out of range.
            ImageFileError: If there is no such format.
            OutputError: If the format cannot hold the picture, or its files are no longer kept.
            BusyError: If the server's disk is full.
        """
        kind = format_named(format) if format else None
        if target.is_dir():
            target = target / Naming(format=kind)(self.source)
        elif kind is not None:
            target = target.with_suffix(kind.suffixes[0])
        with self.turn, self.store.holding(self.source):
            image = self._image(strength or Strength(), mask)
            write_image(target, image, quality=quality)
            written = format_of_suffix(target)
            self.lost[target] = losses(image, written) if written else []
        trim()
        return target

    def preview(self) -> Path:
        """Return the JPEG that shows the restored picture at full strength in a browser.

        Raises:
            OutputError: If its files are no longer kept.
            BusyError: If the server's disk is full.
        """
        with self.turn, self.store.holding(self.source):
            if not self._preview.exists():
                write_preview(self._preview, self._image(Strength(), None))
        trim()
        return self._preview

    def discard(self) -> None:
        """Remove what was made of the upload, which itself stays."""
        with self.turn:
            for file in (*self.changes, self._preview):
                file.unlink(missing_ok=True)

    @property
    def _preview(self) -> Path:
        return self.changes[0].with_suffix(".jpg")

    def _image(self, strength: Strength, mask: Uint8Image | None) -> Image:
        if not all(file.exists() for file in (self.source, *self.changes)):
            raise OutputError(f"{self.source}: no longer kept here; restore it again")
        image = read_source(self.source, self.max_megapixels)
        pages = []
        for page, file in zip([image, *image.pages], self.changes, strict=True):
            change = cast("Array", np.load(file, mmap_mode="r"))
            shares = None if mask is None else spread_over(mask, page.pixels.shape[:2])
            pages.append(with_change(page, change, strength, shares))
        return replace(pages[0], pages=tuple(pages[1:]))


def spread_over(mask: Uint8Image, size: tuple[int, ...]) -> Callable[[slice], Array]:
    """Return a function that gives rows of a mask at another size, interpolated linearly.

    Args:
        mask: ``(h', w')`` uint8.
        size: Height and width of the picture.

    Returns:
        Maps a slice of rows to ``(n, w, 1)`` float32 in 0–1.

    >>> spread_over(np.array([[0, 255]], np.uint8), (1, 4))(slice(0, 1))[0, :, 0].tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    height, width = size
    left, right, across = _between(np.arange(width), width, mask.shape[1])

    def rows_of(rows: slice) -> Array:
        top, bottom, down = _between(np.arange(rows.start, rows.stop), height, mask.shape[0])
        lines = to_unit(mask[top[0] : bottom[-1] + 1])
        wide = lines[:, left] * (1 - across) + lines[:, right] * across
        upper, lower = wide[top - top[0]], wide[bottom - top[0]]
        return np.asarray((upper + (lower - upper) * down[:, None])[..., None])

    return rows_of


def _between(at: Array, length: int, count: int) -> tuple[Array, Array, Array]:
    """Return the two of `count` samples each place lies between, and the share of the second."""
    place = np.clip((at + 0.5) * (count / length) - 0.5, 0, count - 1).astype(np.float32)
    first = place.astype(np.intp)
    return first, np.minimum(first + 1, count - 1), place - first
