"""Restore many files: reading, restoring and writing overlap, and one bad file stops nothing."""

import hashlib
import json
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from unveil.batch.in_place import set_aside, unrestored
from unveil.batch.jobs import Job, comparison_name
from unveil.batch.journal import Journal, content_hash
from unveil.batch.outcome import Outcome
from unveil.errors import OutputError, UnveilError
from unveil.imaging import Develop, Image, write_image
from unveil.imaging.atomic import make_folder, remove_leftovers
from unveil.imaging.convert import to_uint8
from unveil.imaging.formats import PNG
from unveil.imaging.image import Metadata
from unveil.imaging.scratch import allocate
from unveil.inference.image_files import log_losses, read_source
from unveil.inference.restorer import Restorer

# What a damaged file or a full machine may end in, beside our own errors.
_FAILURES = (
    UnveilError,
    OSError,
    MemoryError,
    RuntimeError,
    ValueError,
    ArithmeticError,
    struct.error,
)
_GAP = 8

OnShare = Callable[[Job, float], None]


@dataclass(frozen=True)
class Saving:
    """How results are saved.

    Attributes:
        quality: As `unveil.imaging.write_image`.
        force: Replace what is there, done or not.
        compare: Also write original and result side by side.
        remember: Keep a journal beside the results, and skip what it says is done.
        keep_date: Give results the date of their files.
    """

    quality: int | None = None
    force: bool = False
    compare: bool = False
    remember: bool = True
    keep_date: bool = False


def restore_files(
    restorer: Restorer,
    jobs: Sequence[Job],
    saving: Saving | None = None,
    share: OnShare | None = None,
) -> Iterator[Outcome]:
    """Restore files one after the other, reading the next and writing the last meanwhile.

    Args:
        restorer: Network and options.
        jobs: Files, from `plan`.
        saving: How results are saved.
        share: Called with the share of a file that is done.

    Yields:
        What became of each file, in order. A KeyboardInterrupt is passed on once the file that is
        being written is whole, and its outcome has been yielded.
    """
    run = _Run(restorer, saving or Saving(), share or (lambda _job, _share: None))
    writing: Future[Outcome] | None = None
    with ThreadPoolExecutor(1, "read") as readers, ThreadPoolExecutor(1, "write") as writers:
        try:
            reading = readers.submit(run.read, jobs[0]) if jobs else None
            for i, job in enumerate(jobs):
                assert reading is not None
                given = reading.result()
                reading = readers.submit(run.read, jobs[i + 1]) if i + 1 < len(jobs) else None
                made = run.restore(job, given)
                del given
                if writing is not None:
                    outcome, writing = writing.result(), None
                    yield outcome
                writing = writers.submit(run.write, job, made)
                del made
            if writing is not None:
                outcome, writing = writing.result(), None
                yield outcome
        except KeyboardInterrupt:
            readers.shutdown(wait=False, cancel_futures=True)
            if writing is not None:
                yield writing.result()
            raise
        finally:
            readers.shutdown(cancel_futures=True)
            writers.shutdown()


@dataclass(frozen=True)
class _Read:
    image: Image
    key: str


@dataclass(frozen=True)
class _Restored:
    before: Image
    after: Image
    key: str
    seconds: float


class _Run:
    """The three steps of a file; each turns a failure into an outcome."""

    def __init__(self, restorer: Restorer, saving: Saving, share: OnShare) -> None:
        self.restorer, self.saving, self.share = restorer, saving, share
        self.journal = Journal()
        engine = restorer.engine
        conditioning = {
            name: value.flatten().tolist() for name, value in engine.conditioning.items()
        }
        luma, chroma = engine.strength.luma, engine.strength.chroma
        strength = luma if luma == chroma else [luma, chroma]
        options = [restorer.loaded.digest, repr(engine.tiling), strength, engine.ensemble]
        # What older journals have no word for is left out where it is as it was then.
        if restorer.options.develop != Develop():
            options.append(repr(restorer.options.develop))
        self.options = json.dumps([*options, conditioning, saving.quality])

    def read(self, job: Job) -> _Read | Outcome:
        try:
            source: Path | None = job.source
            if job.backup is not None:
                source = unrestored(job.source, job.backup, self.journal, self.saving.force)
            if source is None:
                return Outcome(job.source, job.target, "skipped")
            key = content_hash(source) if source.is_file() else ""
            key = hashlib.sha256(f"{key} {self.options}".encode()).hexdigest()[:32]
            if job.backup is None and self._is_done(job, key):
                return Outcome(job.source, job.target, "skipped")
            return _Read(self._image(source), key)
        except _FAILURES as error:
            return _failed(job, error)

    def _image(self, source: Path) -> Image:
        options = self.restorer.options
        return read_source(source, options.max_megapixels, options.develop)

    def _is_done(self, job: Job, key: str) -> bool:
        """Return whether the result is there.

        Raises:
            OutputError: If something else is there.
        """
        if self.saving.force:
            return False
        beside = comparison_name(job.target)
        remember = self.saving.remember
        if remember and job.target.exists() and not self.journal.is_done(job.target, key):
            # Another run on this folder may have made it since the journal was read.
            self.journal.refresh(job.target.parent)
        lacking = self.saving.compare and not beside.exists()
        if remember and self.journal.is_done(job.target, key):
            return not lacking
        known = remember and self.journal.contains(job.target)
        for target in [job.target] + ([beside] if self.saving.compare and not known else []):
            if target.exists():
                raise OutputError(f"{target}: exists; give --force to replace it")
        return False

    def restore(self, job: Job, given: _Read | Outcome) -> _Restored | Outcome:
        if isinstance(given, Outcome):
            return given
        start = time.perf_counter()
        try:
            image = given.image
            after = self.restorer.restore_image(image, progress=lambda s: self.share(job, s))
        except _FAILURES as error:
            return _failed(job, error, name=True)
        return _Restored(image, after, given.key, time.perf_counter() - start)

    def write(self, job: Job, made: _Restored | Outcome) -> Outcome:
        if isinstance(made, Outcome):
            return made
        try:
            date = os.stat(_original(job))
            if job.backup is not None:
                self._replace(job, made)
            else:
                self._make(job, made)
            log_losses(job.target, made.after)
            if self.saving.keep_date:
                os.utime(job.target, ns=(date.st_atime_ns, date.st_mtime_ns))
            if self.saving.compare:
                beside = _side_by_side(made.before, made.after)
                write_image(comparison_name(job.target), beside)
            if self.saving.remember:
                self.journal.finish(job.target, made.key)
        except _FAILURES as error:
            return _failed(job, error)
        height, width, _ = made.after.pixels.shape
        return Outcome(job.source, job.target, "restored", "", height * width / 1e6, made.seconds)

    def _make(self, job: Job, made: _Restored) -> None:
        make_folder(job.target.parent)
        # A forced run may replace an older result, which `begin` would take for the new one.
        if self.saving.remember and not job.target.exists():
            if self.journal.contained_at_start(job.target):
                remove_leftovers(job.target)
            self.journal.begin(job.target, made.key)
        write_image(job.target, made.after, quality=self.saving.quality)

    def _replace(self, job: Job, made: _Restored) -> None:
        """Write a result in place of its file, which stays beside it under another name."""
        assert job.backup is not None
        if not made.after.format.is_written:
            raise OutputError(
                f"{job.source}: holds {made.after.format.name}, which is read, not written: "
                "restore it without --in-place"
            )
        set_aside(job.source, job.backup, self.journal)
        write_image(job.target, made.after, quality=self.saving.quality)
        shutil.copymode(job.backup, job.target)


def _original(job: Job) -> Path:
    """Return the file that holds the photo as it was."""
    return job.backup if job.backup is not None and job.backup.exists() else job.source


def _failed(job: Job, error: BaseException, name: bool = False) -> Outcome:
    """Return the outcome of a failure, whose reason names the file; `name` adds its name."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if name or not isinstance(error, UnveilError):
        reason = f"{job.source}: {reason}"
    return Outcome(job.source, job.target, "failed", reason)


def _side_by_side(before: Image, after: Image) -> Image:
    """Return original and result, left and right of a thin white line, as 8 bits."""
    height, width, channels = before.pixels.shape
    pixels = allocate((height, 2 * width + _GAP, channels), "uint8")
    for left, image in ((0, before), (width + _GAP, after)):
        for top in range(0, height, 256):
            rows = slice(top, top + 256)
            pixels[rows, left : left + width] = to_uint8(image.pixels[rows])
    pixels[:, width : width + _GAP] = 255
    profile = Metadata(icc=before.metadata.icc)
    return replace(after, pixels=pixels, alpha=None, format=PNG, bits=8, metadata=profile)
