"""The public way in: restore a path, a PIL image, an array or a tensor, and get the same kind."""

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import numpy as np
from torch import Tensor, nn

from unveil.errors import InputError, OutputError
from unveil.imaging import Develop, Image, write_image
from unveil.imaging.convert import add_residual, normalised
from unveil.imaging.formats import MAX_MEGAPIXELS
from unveil.imaging.image import Array
from unveil.imaging.scratch import allocate_like
from unveil.imaging.thumbnail import with_new_thumbnail
from unveil.inference.device import usable_device
from unveil.inference.image_files import check_range, log_losses, read_source, restored_name
from unveil.inference.input_adapters import (
    is_pillow,
    restore_array,
    restore_batch,
    restore_pillow,
)
from unveil.inference.loading import LoadedModel, load, ready_on
from unveil.inference.options import RestoreOptions, TaskChoice, Tile
from unveil.inference.threads import using_threads
from unveil.inference.tiling import Progress, TiledInference
from unveil.inference.visible import restore_visible
from unveil.models.record import Tiling


class PillowImage(Protocol):
    """What is needed of a `PIL.Image.Image`, which need not be installed."""

    @property
    def mode(self) -> str:
        """Kind of samples."""

    def getbands(self) -> tuple[str, ...]:
        """Names of the channels."""


# What `Restorer` takes and gives back; more kinds would be refused when they are given.
Picture = TypeVar(
    "Picture", bound="str | os.PathLike[str] | np.ndarray[Any, Any] | Tensor | PillowImage"
)


class Restorer:
    """A loaded model that restores images.

    A program that does little else may call `unveil.process.keep_freed_memory` first, as the
    commands do: on Linux a megapixel of a large image then takes no longer than one of a small.

    Args:
        model: Id as in `unveil.list_models`, a weights file or folder, or a network (one that is in
            training, or on another device, is copied as it is now). None takes the bundled
            all-in-one model, or the one made for the task ``"denoise"`` or ``"deblur"``.
        task: ``"auto"`` leaves it to the network; ``"denoise"``, ``"derain"``, ``"dehaze"`` and
            ``"deblur"`` name what to do.
        strength: 0–1, share of the network's change that is applied.
        strength_luma: The same of what changes luminance; None takes `strength`.
        strength_chroma: The same of what changes colour; None takes `strength`.
        tile: ``"auto"`` cuts images above the size in the model's record; a number of pixels always
            cuts; ``"off"`` never does.
        ensemble: Average over the 8 flips and rotations: slower, slightly better.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        threads: Of the processor, set while an image is restored; None leaves torch's own.
        max_megapixels: Largest file accepted.
        develop: How raw photographs are developed.

    Raises:
        InputError: If an option is out of range or the model does not do the task.
        CheckpointError: If weights are missing or damaged.

    >>> restorer = Restorer(nn.Identity())
    >>> restorer(np.zeros((3, 5), np.uint8)).shape
    (3, 5)
    """

    def __init__(
        self,
        model: str | Path | nn.Module | LoadedModel | None = None,
        *,
        task: TaskChoice = "auto",
        strength: float = 1.0,
        strength_luma: float | None = None,
        strength_chroma: float | None = None,
        tile: Tile = "auto",
        ensemble: bool = False,
        device: str = "auto",
        threads: int | None = None,
        max_megapixels: float = MAX_MEGAPIXELS,
        develop: Develop | None = None,
    ) -> None:
        self.options = RestoreOptions(
            model, task, strength, strength_luma, strength_chroma, tile, ensemble, device, threads,
            max_megapixels, develop or Develop(),
        )  # fmt: skip
        self.loaded: LoadedModel = load(model, task)
        chosen = usable_device(device)
        self.engine = TiledInference(
            model=ready_on(self.loaded.network, chosen),
            device=chosen,
            tiling=_tiling(self.loaded.tiling, tile),
            forced=tile != "auto",
            strength=self.options.applied,
            ensemble=bool(ensemble),
            conditioning={k: v.to(chosen) for k, v in self.loaded.conditioning.items()},
        )

    @overload
    def __call__(
        self,
        picture: Picture,
        *,
        strength: float | None = ...,
        strength_luma: float | None = ...,
        strength_chroma: float | None = ...,
        progress: Progress | None = ...,
    ) -> Picture: ...

    @overload
    def __call__(
        self,
        picture: list[Picture] | tuple[Picture, ...],
        *,
        strength: float | None = ...,
        strength_luma: float | None = ...,
        strength_chroma: float | None = ...,
        progress: Progress | None = ...,
    ) -> list[Picture]: ...

    def __call__(
        self,
        picture: Any,
        *,
        strength: float | None = None,
        strength_luma: float | None = None,
        strength_chroma: float | None = None,
        progress: Progress | None = None,
    ) -> Any:
        """Restore `picture`.

        Args:
            picture: A path (the result lies beside it as ``name.restored.ext``, an existing file is
                not replaced), a PIL image, a numpy array ``(h, w)``, ``(h, w, c)`` or
                ``(b, h, w, c)``, a tensor ``(c, h, w)`` or ``(b, c, h, w)``, or a list of these.
                Integers are of 8 or 16 bits, floats nominally in [0, 1].
            strength: For this image, as `Restorer` takes it; None takes the restorer's own.
            strength_luma: Likewise; None takes `strength`, or the restorer's own if that is None.
            strength_chroma: Likewise.
            progress: Called with the share that is done.

        Returns:
            The same kind, size and type; for a path, the path of the result; for a list or tuple, a
            list. Float samples that are NaN or infinite come back as they are and spoil no others:
            the network is given 0 in place of NaN, and −1 or 2 in place of what is beyond.

        Raises:
            InputError: If it is none of these, has floats of another range, or a strength is not
                within 0–1.
            ImageFileError: If the file cannot be read.
            OutputError: If the result cannot be written or is there already.
        """
        shares = (strength, strength_luma, strength_chroma)
        if any(share is not None for share in shares):
            return self._with_strength(*shares)(picture, progress=progress)
        if isinstance(picture, list | tuple):
            return [
                self(one, progress=_part(progress, i, len(picture)))
                for i, one in enumerate(picture)
            ]
        if isinstance(picture, str | os.PathLike):
            target = restored_name(Path(picture))
            if target.exists():
                raise OutputError(f"{target}: exists; remove it, or name another with restore_file")
            self.restore_file(Path(picture), target, progress=progress)
            return str(target) if isinstance(picture, str) else target
        return self._restore_samples(picture, progress)

    def _with_strength(
        self, strength: float | None, luma: float | None, chroma: float | None
    ) -> "Restorer":
        if strength is None:
            own = self.options
            strength = own.strength
            luma = own.strength_luma if luma is None else luma
            chroma = own.strength_chroma if chroma is None else chroma
        other = copy.copy(self)
        other.options = replace(
            self.options, strength=strength, strength_luma=luma, strength_chroma=chroma
        )
        other.engine = replace(self.engine, strength=other.options.applied)
        return other

    def _restore_samples(self, picture: Any, progress: Progress | None) -> Any:
        def restore(pixels: Array, out: Array) -> None:
            with using_threads(self.options.threads):
                self.engine.restore(pixels, out, progress)

        if isinstance(picture, Tensor):
            return restore_batch(picture, restore)
        if isinstance(picture, np.ma.MaskedArray):
            raise InputError(
                "cannot restore a masked array; give array.filled(…) and keep the mask"
            )
        if isinstance(picture, np.ndarray):
            return restore_array(picture, restore)
        if is_pillow(picture):
            return restore_pillow(picture, restore)
        raise InputError(
            f"cannot restore a {type(picture).__name__}; expected a path, a PIL image, a numpy "
            "array, a tensor, or a list of these"
        )

    def restore_file(
        self,
        source: Path,
        target: Path,
        *,
        quality: int | None = None,
        progress: Progress | None = None,
    ) -> Image:
        """Restore the file `source` into the file `target`, replacing that.

        Args:
            source: Image file.
            target: Result; its suffix names the format.
            quality: As `unveil.imaging.write_image`.
            progress: Called with the share that is done.

        Returns:
            The restored image. What the target does not keep of it is logged as warnings.

        Raises:
            ImageFileError: If `source` cannot be read.
            OutputError: If `target` cannot be written.
        """
        image = read_source(source, self.options.max_megapixels, self.options.develop)
        restored = self.restore_image(image, progress=progress)
        write_image(target, restored, quality=quality)
        log_losses(target, restored)
        return restored

    def restore_image(self, image: Image, *, progress: Progress | None = None) -> Image:
        """Restore the colours of an image and of its further pages.

        Alpha, other samples and metadata are passed on, and colours where alpha is 0. A thumbnail
        in the EXIF block is made anew.

        Args:
            image: From `unveil.imaging.read_image`.
            progress: Called with the share that is done.

        Raises:
            InputError: If it holds floats that run from 0 to 255 or so, and no tag says so.
        """
        pages = [image, *image.pages]
        with using_threads(self.options.threads):
            restored = [
                self._restore_page(page, _part(progress, i, len(pages)))
                for i, page in enumerate(pages)
            ]
        return replace(restored[0], pages=tuple(restored[1:]))

    def _restore_page(self, image: Image, progress: Progress | None) -> Image:
        check_range(image)
        out = allocate_like(image)

        def into(pixels: Array, made: Array) -> None:
            if image.white == 1:
                self.engine.restore(pixels, made, progress)
                return
            # A zero change changes no bit, whatever the scale.
            change = np.empty_like(pixels)
            self.engine.change(normalised(pixels, image.white), change, progress)
            add_residual(pixels, self.engine.strength.scaled(change), made, image.white)

        restore_visible(image.pixels, image.alpha, into, out, image.pixels)
        return with_new_thumbnail(image, out)


@overload
def restore(
    picture: Picture, model: str | Path | nn.Module | None = ..., **options: Any
) -> Picture: ...


@overload
def restore(
    picture: list[Picture] | tuple[Picture, ...],
    model: str | Path | nn.Module | None = ...,
    **options: Any,
) -> list[Picture]: ...


def restore(picture: Any, model: str | Path | nn.Module | None = None, **options: Any) -> Any:
    """Restore a path, PIL image, numpy array or tensor, or a list; the same kind comes back.

    Args:
        picture: As `Restorer.__call__`.
        model: As `Restorer`.
        options: As `Restorer`: task, strength, strength_luma, strength_chroma, tile, ensemble,
            device, threads, max_megapixels, develop.

    Raises:
        UnveilError: As `Restorer` and `Restorer.__call__`.

    >>> restore(np.zeros((5, 7), np.uint8), nn.Identity()).shape
    (5, 7)
    """
    return Restorer(model, **options)(picture)


def _part(progress: Progress | None, number: int, count: int) -> Progress | None:
    """Return what reports the progress of one of `count` pages as that of all."""
    if progress is None or count == 1:
        return progress
    return lambda share: progress((number + share) / count)


def _tiling(recorded: Tiling, tile: Tile) -> Tiling:
    if tile == "auto":
        return recorded
    if tile == "off":
        return replace(recorded, whole_megapixels=float("inf"))
    return replace(recorded, whole_megapixels=int(tile) ** 2 / 1e6, tile=int(tile))
