"""A restored picture as the network's change to it, so that any strength is a blend."""

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np

from unveil.errors import OutputError
from unveil.imaging import Image, write_image
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
            pages.append(with_change(page, change, strength, mask))
        return replace(pages[0], pages=tuple(pages[1:]))
