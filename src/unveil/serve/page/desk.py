"""The photos of one browser tab: what was dropped, what became of it, the previews of both."""

import math
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from unveil.errors import InputError, UnveilError
from unveil.imaging import load_rgb, read_image
from unveil.serve.page.samples import png
from unveil.serve.preview import reduced, to_preview, write_preview

if TYPE_CHECKING:
    from unveil.serve.engine import Engine, Options
    from unveil.serve.jobs import Job
    from unveil.serve.restored import Report, Restored

Preview = Literal["before", "after", "thumb"]

# A tab is for looking at photos; folders of them are for the command line.
MOST_PHOTOS = 100
_THUMB = 200
# What is degraded at every move of a slider has to be small.
_CLEAN_PIXELS = 2e6
# A tab whose closing was never noticed.
_FORGET_S = 24 * 3600.0


@dataclass
class Photo:
    """One photo of a tab. Its previews lie beside the upload and go with it.

    Attributes:
        name: What the user calls the file. Not to be trusted.
        source: The upload.
        size: Width and height, upright.
        icc: Its colour profile.
        key: Names it in addresses; nobody can guess it.
        report: What the network sees in it; None when no bundled one can tell.
        job: What is being restored, or was.
        restored: The result.
        options: What it was restored with.
        problem: Why it could not be restored, in one line.
        version: Counts results, so that browsers do not show an older one.
    """

    name: str
    source: Path
    size: tuple[int, int]
    icc: bytes | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    report: "Report | None" = None
    job: "Job[Restored] | None" = None
    restored: "Restored | None" = None
    options: "Options | None" = None
    problem: str = ""
    version: int = 0

    def file(self, name: str) -> Path:
        """Return the path of a file of the page's own beside the upload.

        Uploads never begin with a dot, so the two cannot meet.
        """
        return self.source.with_name(f".page-{name}")

    def preview(self, which: Preview) -> Path:
        """Return where a preview lies."""
        return self.file(f"{which}.jpg")

    def finish(self, restored: "Restored", options: "Options") -> None:
        """Take in a result and write the preview of it."""
        write_preview(self.preview("after"), restored.after(), icc=self.icc)
        older = self.restored
        self.restored, self.options, self.problem = restored, options, ""
        self.report = restored.report or self.report
        self.version += 1
        if older is not None:
            older.discard()

    def touch(self) -> None:
        """Say that the files are still in use."""
        with suppress(OSError):
            os.utime(self.source.parent)


@dataclass
class Desk:
    """What one tab has before it.

    Attributes:
        key: Names it in addresses; nobody can guess it.
        photos: In the order they came, by key.
        chosen: Key of the photo that is shown.
        job: What is being restored for this tab.
        restoring: Whether photos are being restored, one after the other.
        told: How far that is, as it was last shown.
        stopping: Set when the user wants no more of them restored.
        clean: The photo of the degrade tab.
        degraded: What was made of it.
        trial: What is being restored for the degrade tab.
        scores: What was measured there: name, PSNR in dB, SSIM.
        used: When the desk was last used, by the monotonic clock.
    """

    key: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    photos: dict[str, Photo] = field(default_factory=dict)
    chosen: str = ""
    job: "Job[Restored] | None" = None
    restoring: bool = False
    told: str = ""
    stopping: bool = False
    clean: Photo | None = None
    degraded: Photo | None = None
    trial: "Job[Restored] | None" = None
    scores: list[tuple[str, float, float | None]] = field(default_factory=list)
    used: float = field(default_factory=time.monotonic)

    @property
    def photo(self) -> Photo | None:
        """The photo that is shown."""
        return self.photos.get(self.chosen)

    def every(self) -> list[Photo]:
        """Return all photos that have files."""
        return [*self.photos.values(), *(p for p in (self.clean, self.degraded) if p)]

    def stop(self) -> None:
        """Give up what is being restored, and what would follow."""
        self.stopping = True
        for job in (self.job, self.trial):
            if job is not None:
                job.cancel()

    def touch(self) -> None:
        """Say that everything here is still in use."""
        self.used = time.monotonic()
        for photo in self.every():
            photo.touch()


class Desks:
    """The desks of all tabs.

    Args:
        engine: Receives and restores; the files are its store's.
    """

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self._desks: dict[str, Desk] = {}
        # Decoding takes memory by the photo: one at a time, however many are dropped.
        self._turn = threading.Lock()
        self._lock = threading.Lock()

    def of(self, session: str) -> Desk:
        """Return the desk of a tab, by Gradio's name for it; a new one for a new tab."""
        now = time.monotonic()
        with self._lock:
            old = [name for name, desk in self._desks.items() if now - desk.used > _FORGET_S]
            lost = [self._desks.pop(name) for name in old]
            desk = self._desks.setdefault(session, Desk())
        for one in lost:
            self.clear(one)
        desk.used = now
        return desk

    def find(self, key: str) -> Desk | None:
        """Return the desk with this key."""
        with self._lock:
            return next((desk for desk in self._desks.values() if desk.key == key), None)

    def photo(self, key: str) -> Photo | None:
        """Return the photo with this key, of whichever tab."""
        with self._lock:
            desks = [*self._desks.values()]
        return next((p for desk in desks for p in desk.every() if p.key == key), None)

    def add(self, desk: Desk, name: str, stream: BinaryIO, *, choose: bool = True) -> Photo:
        """Put a file on a desk.

        Args:
            desk: Of the tab.
            name: What the user calls it.
            stream: The file.
            choose: Whether to show it.

        Raises:
            ImageFileError: If it is no image we read; the message speaks of `name`.
            InputError: If the desk is full.
            BusyError: If the server's disk is full.
        """
        if len(desk.photos) >= MOST_PHOTOS:
            raise InputError(
                f"a page holds {MOST_PHOTOS} photos; clear it, or use `unveil restore FOLDER`"
            )
        photo = self.receive(name, stream)
        desk.photos[photo.key] = photo
        if choose or not desk.chosen:
            desk.chosen = photo.key
        return photo

    def receive(self, name: str, stream: BinaryIO) -> Photo:
        """Take in a file and write its previews.

        Raises:
            ImageFileError: As `add`.
        """
        source = self.engine.receive(name, stream)
        try:
            with self.engine.store.holding(source):
                return self._previewed(source, name)
        except BaseException:
            self.engine.discard(source)
            raise

    def _previewed(self, source: Path, name: str) -> Photo:
        with self._turn, speaking_of(source, name):
            image = read_image(source, max_megapixels=self.engine.settings.max_megapixels)
        height, width, _ = image.pixels.shape
        photo = Photo(name, source, (width, height), image.metadata.icc)
        pixels = to_preview(image.pixels)
        write_preview(photo.preview("before"), pixels, icc=photo.icc)
        write_preview(
            photo.preview("thumb"),
            reduced(pixels, -(-max(width, height) // _THUMB)),
            icc=photo.icc,
        )
        return photo

    def set_clean(self, desk: Desk, name: str, stream: BinaryIO) -> Photo:
        """Take a clean photo for the degrade tab: 8 bits, reduced to 2 megapixels at most.

        Raises:
            ImageFileError: As `add`.
        """
        given = self.receive(name, stream)
        try:
            with self._turn, self.engine.store.holding(given.source):
                pixels = to_preview(load_rgb(given.source))
            block = math.ceil(math.sqrt(given.size[0] * given.size[1] / _CLEAN_PIXELS))
            photo = self.receive(f"{Path(name).stem}.png", png(reduced(pixels, block)))
        finally:
            self.engine.discard(given.source)
        photo.name = name
        for older in (desk.clean, desk.degraded):
            if older is not None:
                self.discard(older)
        desk.clean, desk.degraded, desk.scores = photo, None, []
        return photo

    def remove(self, desk: Desk, key: str) -> None:
        """Take a photo off a desk, stop the work on it, delete its files."""
        photo = desk.photos.pop(key, None)
        if photo is None:
            return
        self.discard(photo)
        if desk.chosen == key:
            desk.chosen = next(reversed(desk.photos), "")

    def discard(self, photo: Photo) -> None:
        """Stop the work on a photo and delete its files."""
        if photo.job is not None:
            photo.job.cancel()
        self.engine.discard(photo.source)

    def clear(self, desk: Desk) -> None:
        """Take everything off a desk, stop its work, delete its files."""
        desk.stop()
        for photo in desk.every():
            self.discard(photo)
        desk.photos.clear()
        desk.chosen, desk.clean, desk.degraded = "", None, None

    def close(self, session: str) -> None:
        """Forget a tab that was closed."""
        with self._lock:
            desk = self._desks.pop(session, None)
        if desk is not None:
            self.clear(desk)


@contextmanager
def speaking_of(source: Path, name: str) -> Iterator[None]:
    """Let errors call a file what its user calls it, not where it lies on the server.

    Raises:
        UnveilError: Whatever the block raised, with its message put right.
    """
    try:
        yield
    except UnveilError as error:
        error.args = (str(error).replace(str(source), name).replace(source.name, name),)
        raise
