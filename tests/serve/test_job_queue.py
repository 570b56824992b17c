"""The line and its worker."""

import threading
import time
from collections.abc import Iterator

import pytest
from tests.serve.conftest import WAIT_S, until

from unveil.errors import BusyError, CancelledError, InputError, TimedOutError
from unveil.serve.job_queue import Queue, QueuedJob


@pytest.fixture
def queue() -> Iterator[Queue]:
    made = Queue(2, WAIT_S, lambda: None)
    yield made
    made.stop(1)


class Gate:
    """Work that begins, waits to be let go, and reports on the way."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self, job: QueuedJob[str]) -> str:
        self.begun.set()
        while not self.open.wait(0.005):
            job.report(0.25)
        return "made"


def test_jobs_are_done_in_order_one_at_a_time(queue: Queue) -> None:
    at_once: list[int] = []
    order: list[int] = []

    def work(number: int, _job: QueuedJob[None]) -> None:
        at_once.append(number)
        time.sleep(0.01)
        order.append(number)
        assert at_once == order

    for number in range(3):
        last = queue.submit(lambda job, n=number: work(n, job))  # type: ignore[misc]
    last.future.result(WAIT_S)
    assert order == [0, 1, 2]


def test_a_job_tells_its_state_position_share_and_time_left(queue: Queue) -> None:
    gate = Gate()
    first, second = queue.submit(gate), queue.submit(lambda _: 2)
    assert gate.begun.wait(WAIT_S)
    until(lambda: first.share == 0.25)
    assert (first.state, first.position) == ("running", 0)
    assert (second.state, second.position, second.share) == ("waiting", 1, 0.0)
    etas = first.eta_s, second.eta_s
    assert etas[0] is not None
    assert etas[1] is not None
    assert 0 < etas[0] < etas[1]
    gate.open.set()
    assert first.future.result(WAIT_S) == "made"
    assert (first.state, first.share, first.eta_s) == ("done", 1.0, None)
    assert second.future.result(WAIT_S) == 2


def test_a_full_line_is_refused(queue: Queue) -> None:
    gate = Gate()
    jobs = [queue.submit(gate) for _ in range(3)]
    with pytest.raises(BusyError) as refused:
        queue.submit(gate)
    assert refused.value.retry_after_s >= 1
    gate.open.set()
    for job in jobs:
        job.future.result(WAIT_S)
    queue.submit(gate).future.result(WAIT_S)


def test_a_waiting_job_is_cancelled_at_once_and_never_run(queue: Queue) -> None:
    gate, ran = Gate(), threading.Event()
    first, second = queue.submit(gate), queue.submit(lambda _: ran.set())
    second.cancel()
    assert second.state == "cancelled"
    with pytest.raises(CancelledError):
        second.future.result(1)
    gate.open.set()
    first.future.result(WAIT_S)
    assert not ran.is_set()


def test_a_running_job_is_cancelled_at_its_next_report(queue: Queue) -> None:
    gate = Gate()
    job = queue.submit(gate)
    assert gate.begun.wait(WAIT_S)
    job.cancel()
    with pytest.raises(CancelledError):
        job.future.result(WAIT_S)
    assert job.state == "cancelled"
    assert queue.submit(lambda _: 1).future.result(WAIT_S) == 1


def test_who_forsakes_the_future_stops_neither_job_nor_worker(queue: Queue) -> None:
    gate = Gate()
    job = queue.submit(gate)
    assert gate.begun.wait(WAIT_S)
    assert not job.future.cancel()
    gate.open.set()
    assert job.future.result(WAIT_S) == "made"
    assert queue.submit(lambda _: 1).future.result(WAIT_S) == 1


def test_what_a_cancelled_job_fails_with_is_that_it_was_cancelled(queue: Queue) -> None:
    gate, begun = threading.Event(), threading.Event()

    def lose_files(_job: QueuedJob[None]) -> None:
        begun.set()
        gate.wait(WAIT_S)
        raise FileNotFoundError

    job = queue.submit(lose_files)
    assert begun.wait(WAIT_S)
    job.cancel()
    gate.set()
    with pytest.raises(CancelledError):
        job.future.result(WAIT_S)


def test_a_failure_goes_to_who_waits_and_the_worker_lives(queue: Queue) -> None:
    def fail(_job: QueuedJob[None]) -> None:
        raise InputError("no good")

    job = queue.submit(fail)
    with pytest.raises(InputError, match="no good"):
        job.future.result(WAIT_S)
    assert job.state == "failed"
    assert queue.submit(lambda _: 1).future.result(WAIT_S) == 1


def test_a_job_that_runs_too_long_is_given_up() -> None:
    queue = Queue(2, 0.05, lambda: None)
    job = queue.submit(Gate())
    with pytest.raises(TimedOutError, match="smaller"):
        job.future.result(WAIT_S)
    queue.stop(1)


def test_stopping_finishes_what_runs_and_refuses_the_rest() -> None:
    queue = Queue(2, WAIT_S, lambda: None)
    gate = Gate()
    running, waiting = queue.submit(gate), queue.submit(gate)
    assert gate.begun.wait(WAIT_S)
    threading.Timer(0.1, gate.open.set).start()
    queue.stop(WAIT_S)
    assert running.future.result(0) == "made"
    with pytest.raises(BusyError, match="stopping"):
        waiting.future.result(0)
    with pytest.raises(BusyError, match="stopping"):
        queue.submit(gate)


def test_stopping_answers_even_a_job_that_does_not_end_in_time() -> None:
    queue = Queue(2, WAIT_S, lambda: None)
    leave = threading.Event()
    stuck = queue.submit(lambda _: leave.wait(WAIT_S))
    until(lambda: queue.running)
    queue.stop(0.1)
    assert queue.running
    with pytest.raises(BusyError, match="not done in time"):
        stuck.future.result(0)
    leave.set()
