"""The jobs of the API: pictures that are restored one after the other, kept for a while."""

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from starlette.exceptions import HTTPException

from unveil.errors import BusyError, CancelledError, InputError, UnveilError
from unveil.inference.options import RestoreOptions
from unveil.serve.engine import Engine
from unveil.serve.forms import JobImage, JobStatus, State
from unveil.serve.job_queue import QueuedJob
from unveil.serve.restored import Restored
from unveil.serve.store import plain_message

# Beyond that a folder is for the command line.
MOST_IMAGES = 500
# Unfinished or kept; each is small, its files lie on the disk.
_MOST_BATCHES = 1000
_RETRY_S = 1.0

_log = logging.getLogger(__name__)


@dataclass
class Item:
    """One picture of a job.

    Attributes:
        name: What its sender calls the file. Not to be trusted.
        source: The upload; None where it could not be taken in.
        error: Why it could not be restored, in one line.
        job: What is being restored, or was.
        restored: The result.
        version: Counts results.
    """

    name: str
    source: Path | None = None
    error: str | None = None
    job: QueuedJob[Restored] | None = None
    restored: Restored | None = None
    version: int = 0
    state: State = "received"

    def status(self) -> JobImage:
        """Return what clients see of it."""
        status = JobImage(
            name=self.name, state=self.state, error=self.error, version=self.version,
            share=float(self.state == "done"), position=0, eta_s=None,
        )  # fmt: skip
        if self.state == "waiting" and (job := self.job) is not None:
            status.state = "running" if job.state == "running" else "waiting"
            status.share, status.position = round(job.share, 4), job.position
            status.eta_s = None if job.eta_s is None else round(job.eta_s, 1)
        if (made := self.restored) is not None:
            status.width, status.height = made.size
            status.model, status.task, status.tiles = made.model, made.task, made.tiles
            status.seconds = round(made.seconds, 3)
        return status

    def failed(self, error: str) -> None:
        """Note in one line why it could not be restored."""
        self.state, self.error = "failed", error


@dataclass
class Batch:
    """A job of the API.

    Attributes:
        items: In the order they came.
        id: Random; names it in addresses.
        task: What is running.
    """

    items: list[Item]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    task: "asyncio.Task[None] | None" = None
    stopping: bool = False

    @property
    def sources(self) -> list[Path]:
        """The files of its pictures."""
        return [item.source for item in self.items if item.source is not None]

    @property
    def running(self) -> bool:
        """Whether any picture waits or is being restored."""
        return self.task is not None and not self.task.done()

    def status(self) -> JobStatus:
        """Return what clients see of it."""
        images = [item.status() for item in self.items]
        states = {image.state for image in images}
        order: tuple[State, ...] = ("received", "done", "cancelled", "failed")
        state: State = "running" if self.running else next(s for s in order if s in states)
        return JobStatus(id=self.id, state=state, images=images)

    def touch(self) -> None:
        """Say that the files are still in use."""
        for source in self.sources:
            with contextlib.suppress(OSError):
                os.utime(source.parent)


class Batches:
    """All jobs of the API; their files are the engine's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._batches: dict[str, Batch] = {}

    def add(self, items: Sequence[Item]) -> Batch:
        """Keep pictures as a job.

        Raises:
            BusyError: If there are too many jobs.
        """
        for batch in [*self._batches.values()]:
            if not batch.running and not any(s.exists() for s in batch.sources):
                del self._batches[batch.id]
        if len(self._batches) >= _MOST_BATCHES:
            raise BusyError(f"{_MOST_BATCHES} jobs are kept already; try again in 60 s", 60)
        batch = Batch([*items])
        self._batches[batch.id] = batch
        return batch

    def job(self, key: str) -> Batch:
        """Return the job with this id; using it keeps its files.

        Raises:
            HTTPException: If it is not there, or no longer.
        """
        batch = self._batches.get(key)
        if batch is None:
            raise HTTPException(404, "no such job; it may be over: send its pictures again")
        batch.touch()
        return batch

    def picture(self, key: str, number: int) -> tuple[Item, Path]:
        """Return a picture of a job, and its file; errors as `job`.

        Args:
            key: Id of the job.
            number: Of the picture, from 0.
        """
        items = self.job(key).items
        if number >= len(items):
            raise HTTPException(404, f"this job has {len(items)} pictures, counted from 0")
        item = items[number]
        if item.source is None or not item.source.exists():
            raise HTTPException(404, f"{item.name}: no longer kept here; send it again")
        return item, item.source

    def restored(self, key: str, number: int) -> Restored:
        """Return the result for a picture of a job; errors as `job`.

        Args:
            key: Id of the job.
            number: Of the picture, from 0.
        """
        item, _ = self.picture(key, number)
        if item.restored is None:
            raise HTTPException(404, f"{item.name}: not restored yet")
        return item.restored

    def start(self, batch: Batch, options: RestoreOptions) -> None:
        """Restore all pictures of a job, or restore them again.

        Args:
            batch: The job.
            options: Of restoring.

        Raises:
            InputError: If it is running already, or no network does that.
        """
        if batch.running:
            raise InputError("this job is running; wait for its end, or cancel it first")
        self._engine.check(options)
        batch.stopping = False
        for item in batch.items:
            if item.source is not None:
                item.state, item.job, item.error = "waiting", None, None
        batch.task = asyncio.create_task(self._run(batch, options))

    def cancel(self, batch: Batch) -> None:
        """Stop restoring; the pictures stay."""
        batch.stopping = True
        for item in batch.items:
            if item.job is not None:
                item.job.cancel()

    def remove(self, batch: Batch) -> None:
        """Stop restoring and delete all files of a job."""
        self.cancel(batch)
        self._batches.pop(batch.id, None)
        self._engine.store.discard(*batch.sources)

    async def close(self) -> None:
        """End all work."""
        tasks = [batch.task for batch in self._batches.values() if batch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, batch: Batch, options: RestoreOptions) -> None:
        todo = [(item, item.source) for item in batch.items if item.source is not None]
        store = self._engine.store
        with contextlib.ExitStack() as held:
            for _, source in todo:
                held.enter_context(store.holding(source))
            for item, source in todo:
                try:
                    await self._restore(batch, item, source, options)
                except CancelledError:
                    item.state = "cancelled"
                except UnveilError as error:
                    item.failed(plain_message(error, store.folder))
                except Exception:
                    _log.exception("a job failed")
                    item.failed("internal error; the server's log says more")

    async def _restore(
        self, batch: Batch, item: Item, source: Path, options: RestoreOptions
    ) -> None:
        while item.job is None:
            if batch.stopping:
                raise CancelledError("cancelled")
            try:
                item.job = self._engine.submit(source, options)
            except BusyError:
                if self._engine.queue.stopping:
                    raise
                await asyncio.sleep(_RETRY_S)
        made = await asyncio.wrap_future(item.job.future)
        if item.restored is not None:
            item.restored.discard()
        item.restored, item.state = made, "done"
        item.version += 1
