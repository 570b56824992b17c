"""What the page and the API share: uploads in, one image at a time restored, results out."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from anyio import CapacityLimiter

from unveil.errors import InputError, OutputError
from unveil.imaging import Image
from unveil.inference.change import change_of
from unveil.inference.diagnosis import DegradationEstimate
from unveil.inference.image_files import read_source
from unveil.inference.inspect import inspect_image
from unveil.inference.options import RestoreOptions, Tile
from unveil.inference.restorer import Restorer
from unveil.process import trim
from unveil.serve.catalogue import Catalogue, Model
from unveil.serve.job_queue import Queue, QueuedJob
from unveil.serve.preview import write_preview
from unveil.serve.restored import Restored
from unveil.serve.settings import Settings
from unveil.serve.store import Store

Result = TypeVar("Result")

# Networks kept loaded, by what they are asked to do.
_LOADED = 6


class Engine:
    """One worker that restores one image at a time, a bounded queue before it, files beside it.

    Args:
        settings: Limits, threads, device and weights.
        folder: Where its own temporary folder is made; None takes the system's place.

    Attributes:
        listeners: Called, in the worker's thread, with each picture that is restored.

    Raises:
        CheckpointError: If weights named in the settings are missing or damaged.
        InputError: If the device cannot be used.
    """

    def __init__(self, settings: Settings, *, folder: Path | None = None) -> None:
        self.settings = settings
        self.catalogue = Catalogue(settings.models)
        self._restorers: OrderedDict[tuple[Any, ...], Restorer] = OrderedDict()
        self._turn = threading.Lock()
        # Fails now, and not at the first job, where the device cannot be used.
        Restorer(torch.nn.Identity(), device=settings.device)
        self.store = Store(
            folder,
            max_bytes=settings.max_bytes,
            keep_s=settings.keep_s,
            keep_bytes=settings.keep_bytes,
        )
        # Results are written one at a time; requests that wait for it must not hold all threads.
        self.writers = CapacityLimiter(2)
        self.queue = Queue(settings.queue, settings.timeout_s, self._begin)
        self.listeners: list[Callable[[Restored], None]] = []
        self._seconds_per_megapixel: dict[str, float] = {}

    def check(self, options: RestoreOptions) -> Model:
        """Return the network that options choose.

        Raises:
            InputError: If no network does that.
        """
        return self.catalogue.choose(cast("str | None", options.model), options.task)

    def submit(self, source: Path, options: RestoreOptions) -> QueuedJob[Restored]:
        """Queue a picture of the store to be restored.

        Args:
            source: The picture, in the store.
            options: Of restoring.

        Raises:
            BusyError: If the line is full or the engine is stopping.
            InputError: If the options make no sense.
        """
        offer = self.check(options)
        return self.submit_work(source, lambda job: self._restore(job, source, options, offer))

    def submit_inspection(self, source: Path, offer: Model) -> QueuedJob[DegradationEstimate]:
        """Queue a degradation estimate.

        Args:
            source: The picture, in the store.
            offer: A network that makes one.

        Raises:
            BusyError: If the line is full or the engine is stopping.
        """

        def work(job: QueuedJob[DegradationEstimate]) -> DegradationEstimate:
            image = self._read(source)
            job.report(0.1)
            return inspect_image(self._restorer(offer, RestoreOptions()), image)

        return self.submit_work(source, work)

    def submit_work(
        self, source: Path, work: Callable[[QueuedJob[Result]], Result]
    ) -> QueuedJob[Result]:
        """Queue work on an upload.

        Args:
            source: The upload, which is kept until the work is done.
            work: Runs in the engine's thread.

        Raises:
            BusyError: If the line is full or the engine is stopping.
        """

        def held(job: QueuedJob[Result]) -> Result:
            try:
                with self.store.holding(source):
                    return work(job)
            finally:
                trim()

        return self.queue.submit(held)

    def preview(self, source: Path) -> Path:
        """Return the JPEG that shows an upload in a browser: 8 bits, upright, at full size.

        Raises:
            ImageFileError: If the upload cannot be read.
            OutputError: If it is no longer kept.
            BusyError: If the disk is full.
        """
        with self._turn, self.store.holding(source):
            # Names of uploads do not begin with a dot.
            target = source.with_name(".before.jpg")
            if not target.exists():
                write_preview(target, self._read(source))
                trim()
            return target

    def stop(self, grace_s: float = 8.0) -> None:
        """Answer what is running within `grace_s`, refuse the rest, remove all files."""
        self.queue.stop(grace_s)
        self.store.close()

    def _begin(self) -> None:
        if self.settings.threads is not None:
            torch.set_num_threads(self.settings.threads)

    def _restore(
        self, job: QueuedJob[Restored], source: Path, options: RestoreOptions, offer: Model
    ) -> Restored:
        image = self._read(source)
        restorer = self._restorer(offer, options)
        self._check_pass(image, restorer, options.tile)
        height, width, _ = image.pixels.shape
        kind, megapixels = f"{offer.id} {options.ensemble}", height * width / 1e6
        if kind in self._seconds_per_megapixel:
            job.expected_s = self._seconds_per_megapixel[kind] * megapixels
        start = time.perf_counter()
        pages = [image, *image.pages]
        changes = tuple(source.with_name(f"{job.id}.{i}.change") for i in range(len(pages)))
        tiles = 0

        def report(share: float) -> None:
            job.report((i + share) / len(pages))

        try:
            for i, page in enumerate(pages):
                out = self.store.create(changes[i], page.pixels.shape, np.float32)
                # Of a page of which nothing can be seen there are none.
                restorer.engine.tiles = 0
                change_of(restorer, page, out, report)
                tiles += restorer.engine.tiles
        except BaseException:
            for file in changes:
                file.unlink(missing_ok=True)
            raise
        seconds = time.perf_counter() - start
        self._seconds_per_megapixel[kind] = seconds / megapixels
        restored = Restored(
            source=source,
            size=(width, height),
            seconds=seconds,
            model=offer.id,
            task=options.task,
            tiles=tiles,
            changes=changes,
            max_megapixels=self.settings.max_megapixels,
            store=self.store,
            turn=self._turn,
        )
        for listener in self.listeners:
            listener(restored)
        return restored

    def _read(self, source: Path) -> Image:
        if not source.exists():
            raise OutputError(f"{source}: no longer kept here; upload it again")
        return read_source(source, self.settings.max_megapixels)

    def _restorer(self, offer: Model, options: RestoreOptions) -> Restorer:
        """Return a loaded network; only the worker calls this."""
        key = (offer.id, options.task, options.tile, options.ensemble)
        if key not in self._restorers:
            loaded = self.catalogue.loaded(offer)
            chosen = replace(options, model=loaded, device=self.settings.device)
            self._restorers[key] = Restorer(**vars(chosen))
            if len(self._restorers) > _LOADED:
                self._restorers.popitem(last=False)
        self._restorers.move_to_end(key)
        return self._restorers[key]

    def _check_pass(self, image: Image, restorer: Restorer, tile: Tile) -> None:
        """Refuse tiles larger than the network's record gives, as all clients share the memory.

        Raises:
            InputError: If one pass would take more pixels.
        """
        if tile == "auto":
            return
        height, width, _ = image.pixels.shape
        pixels = height * width if tile == "off" else min(tile * tile, height * width)
        limit = restorer.loaded.tiling.whole_megapixels
        if pixels > limit * 1e6:
            raise InputError(
                f"tile {tile}: {pixels / 1e6:.1f} megapixels at once, above this server's limit of "
                f"{limit:g}; take auto or a smaller tile"
            )
