"""A bounded queue with one worker: one image at a time, cancellable, with progress."""

import contextlib
import secrets
import threading
import time
from collections import deque
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
        return self._queue.position(self)

    @property
    def share(self) -> float:
        """Share of the work that is done, 0 to 1."""
        return 1.0 if self.state == "done" else self._share

    @property
    def eta_s(self) -> float | None:
        """Estimated seconds until the job is done; None afterwards."""
        return None if self.future.done() else self._queue.eta_s(self)

    def report(self, share: float) -> None:
        """Note progress; called by the work, between its steps.

        Raises:
            CancelledError: If the job has been cancelled.
            TimedOutError: If it has taken longer than a job may.
        """
        self._share = share
        if self._cancelled.is_set():
            raise CancelledError("cancelled")
        limit = self._queue.timeout_s
        if self.elapsed_s > limit:
            raise TimedOutError(f"not done after {limit:g} s; try a smaller image")

    def cancel(self) -> None:
        """Give the job up: a waiting one at once, a running one after the tile it is at."""
        self._cancelled.set()
        self._queue.drop(self)

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
        self._limit, self._begin = limit, begin
        self._waiting: deque[QueuedJob[Any]] = deque()
        self._running: QueuedJob[Any] | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="unveil-worker", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of jobs that wait."""
        return len(self._waiting)

    @property
    def running(self) -> bool:
        """Whether the worker is at a job."""
        return self._running is not None

    @property
    def stopping(self) -> bool:
        """Whether new jobs are refused for good."""
        return self._stopping

    def submit(self, work: Callable[[QueuedJob[Result]], Result]) -> QueuedJob[Result]:
        """Put work in line.

        Raises:
            BusyError: If the line is full or the server is stopping.
        """
        job = QueuedJob(self, work)
        with self._changed:
            self.check()
            self._waiting.append(job)
            self._changed.notify()
        return job

    def check(self) -> None:
        """Tell whether a job would be taken now.

        Raises:
            BusyError: If not.
        """
        if self._stopping:
            raise BusyError(_STOPPING, _STOPPING_RETRY_S)
        ahead = len(self._waiting) + (self._running is not None)
        if ahead > self._limit:
            wait = min(max(round(self.typical_s), 1), 60)
            raise BusyError(f"{ahead} images are in line already; try again in {wait} s", wait)

    def position(self, job: QueuedJob[Any]) -> int:
        """As `QueuedJob.position`."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    def eta_s(self, job: QueuedJob[Any]) -> float:
        """As `QueuedJob.eta_s`."""
        with self._changed:
            line = [self._running] if self._running else []
            line += self._waiting
            ahead = line[: line.index(job) + 1] if job in line else [job]
        return sum(one.remaining_s() for one in ahead)

    def drop(self, job: QueuedJob[Any]) -> None:
        """Take a cancelled job out of the line if it waits."""
        with self._changed:
            if job not in self._waiting:
                return
            self._waiting.remove(job)
        job.settle(CancelledError("cancelled"))

    def stop(self, grace_s: float) -> None:
        """Refuse what waits, give the running job `grace_s` to finish, then cancel it.

        When this returns every job has been answered.
        """
        deadline = time.monotonic() + grace_s
        with self._changed:
            self._stopping = True
            refused = [*self._waiting]
            self._waiting.clear()
            self._changed.notify()
        for job in refused:
            job.settle(BusyError(_STOPPING, _STOPPING_RETRY_S))
        self._thread.join(max(deadline - time.monotonic(), 0.0))
        last = self._running
        if last is not None:
            last.settle(
                BusyError(f"{_STOPPING}, the image was not done in time", _STOPPING_RETRY_S)
            )
            last.cancel()

    def _serve(self) -> None:
        self._begin()
        while job := self._next():
            job.run()
            with self._changed:
                self._running = None
            if job.state == "done":
                self.typical_s += 0.2 * (job.elapsed_s - self.typical_s)

    def _next(self) -> QueuedJob[Any] | None:
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            self._running = self._waiting.popleft() if self._waiting else None
            return self._running
