"""A bounded queue with one worker: one image at a time, cancellable, with progress."""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, Generic, Literal, TypeVar

from unveil.errors import BusyError, CancelledError, TimedOutError

Result = TypeVar("Result")
QueueState = Literal["waiting", "running", "done", "failed", "cancelled"]

# Before anything has been measured.
_TYPICAL_S = 2.0
_STOPPING = "the server is stopping"
_STOPPING_RETRY_S = 10


class QueuedJob(Generic[Result]):
    """Work for the queue's thread, with its progress and result.

    Attributes:
        id: Unguessable.
        future: Holds the result or what went wrong; for `asyncio.wrap_future`.
        expected_s: Seconds the work is thought to take, once its size is known.
    """

    def __init__(self, queue: "Queue", work: "Callable[[QueuedJob[Result]], Result]") -> None:
        self.id = secrets.token_hex(8)
        self.future: Future[Result] = Future()
        # An event loop cancels what it no longer waits for: only `cancel` may end this one.
        self.future.set_running_or_notify_cancel()
        self.expected_s: float | None = None
        self.timeout_s = queue.timeout_s
        self._queue, self._work = queue, work
        self._share = 0.0
        self._began: float | None = None
        self._cancelled = threading.Event()

    @property
    def state(self) -> QueueState:
        """Where the job is."""
        if self.future.done():
            error = self.future.exception()
            if isinstance(error, CancelledError):
                return "cancelled"
            return "failed" if error else "done"
        return "waiting" if self._began is None else "running"

    @property
    def position(self) -> int:
        """How many jobs are to be done before this one, the running one included."""
        return max(len(self._queue.until(self)) - 1, 0)

    @property
    def share(self) -> float:
        """Share of the work that is done, 0 to 1."""
        return 1.0 if self.state == "done" else self._share

    @property
    def eta_s(self) -> float | None:
        """Estimated seconds until the job is done; None afterwards."""
        if self.future.done():
            return None
        return sum(job.remaining_s() for job in self._queue.until(self) or [self])

    @property
    def elapsed_s(self) -> float:
        """Seconds since the work began; 0 before."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def remaining_s(self) -> float:
        """Seconds of work that are left, by the share that is done or what was expected."""
        if self._began is not None and self._share > 0:
            return self.elapsed_s * (1 - self._share) / self._share
        expected = self._queue.typical_s if self.expected_s is None else self.expected_s
        return max(expected - self.elapsed_s, 0.0)

    def report(self, share: float) -> None:
        """Note progress; called by the work, between its steps.

        Raises:
            CancelledError: If the job has been cancelled.
            TimedOutError: If it has taken longer than a job may.
        """
        self._share = share
        if self._cancelled.is_set():
            raise CancelledError("cancelled")
        if self.elapsed_s > self.timeout_s:
            raise TimedOutError(f"not done after {self.timeout_s:g} s; try a smaller image")

    def cancel(self) -> None:
        """Give the job up: a waiting one at once, a running one after the tile it is at."""
        self._cancelled.set()
        if self._queue.drop(self):
            self.settle(CancelledError("cancelled"))

    def settle(self, error: BaseException) -> None:
        """End the job with `error` unless it has ended already."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)

    def run(self) -> None:
        """Do the work."""
        self._began = time.monotonic()
        try:
            self.report(0.0)
            result = self._work(self)
        # Any error is the job's result; the thread goes on with the next job.
        except BaseException as error:
            # Whoever cancels may take the files away, too.
            self.settle(CancelledError("cancelled") if self._cancelled.is_set() else error)
        else:
            with contextlib.suppress(InvalidStateError):
                self.future.set_result(result)


class Queue:
    """Jobs in the order they came, and the one thread that does them.

    Args:
        limit: Jobs that may wait beside the running one.
        timeout_s: Seconds a job may run.
        begin: Called in the worker's thread before anything else.
    """

    def __init__(self, limit: int, timeout_s: float, begin: Callable[[], None]) -> None:
        self.timeout_s = timeout_s
        self.typical_s = _TYPICAL_S
        self.stopping = False
        self._limit, self._begin = limit, begin
        # The running job, if any, comes first.
        self._line: list[QueuedJob[Any]] = []
        self._running: QueuedJob[Any] | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="unveil-worker", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of jobs that wait."""
        return len(self._line) - self.running

    @property
    def running(self) -> bool:
        """Whether the worker is at a job."""
        return self._running is not None

    def submit(self, work: Callable[[QueuedJob[Result]], Result]) -> QueuedJob[Result]:
        """Put work in line.

        Raises:
            BusyError: If the line is full or the server is stopping.
        """
        job = QueuedJob(self, work)
        with self._changed:
            self.check()
            self._line.append(job)
            self._changed.notify()
        return job

    def check(self) -> None:
        """Tell whether a job would be taken now.

        Raises:
            BusyError: If not.
        """
        if self.stopping:
            raise BusyError(_STOPPING, _STOPPING_RETRY_S)
        ahead = len(self._line)
        if ahead > self._limit:
            wait = min(max(round(self.typical_s), 1), 60)
            raise BusyError(f"{ahead} images are in line already; try again in {wait} s", wait)

    def until(self, job: QueuedJob[Any]) -> list[QueuedJob[Any]]:
        """Return the jobs in line up to and with this one; none where it is not in line."""
        with self._changed:
            return self._line[: self._line.index(job) + 1] if job in self._line else []

    def drop(self, job: QueuedJob[Any]) -> bool:
        """Take a job out of the line if it waits; return whether it did."""
        with self._changed:
            waits = job in self._line and job is not self._running
            if waits:
                self._line.remove(job)
        return waits

    def stop(self, grace_s: float) -> None:
        """Refuse what waits, give the running job `grace_s` to finish, then cancel it.

        When this returns every job has been answered.
        """
        with self._changed:
            self.stopping = True
            last = self._running
            refused = [job for job in self._line if job is not last]
            self._line = [last] if last else []
            self._changed.notify()
        for job in refused:
            job.settle(BusyError(_STOPPING, _STOPPING_RETRY_S))
        self._thread.join(grace_s)
        if last is not None:
            reason = f"{_STOPPING}, the image was not done in time"
            last.settle(BusyError(reason, _STOPPING_RETRY_S))
            last.cancel()

    def _serve(self) -> None:
        self._begin()
        while job := self._next():
            job.run()
            if job.state == "done":
                self.typical_s += 0.2 * (job.elapsed_s - self.typical_s)
            with self._changed:
                self._line.remove(job)
                self._running = None

    def _next(self) -> QueuedJob[Any] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._line or self.stopping)
            self._running = self._line[0] if self._line else None
            return self._running
