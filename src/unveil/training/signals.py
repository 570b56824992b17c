"""Signals: SIGTERM and Ctrl-C end a run after its current step."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from unveil.process import stop_signals

_log = logging.getLogger(__name__)


@dataclass
class StopRequest:
    """Whether a run is to end.

    Attributes:
        received: The signal that came, or None.
    """

    received: signal.Signals | None = None


@contextmanager
def noted_signals() -> Iterator[StopRequest]:
    """Note SIGTERM and the first Ctrl-C; a second Ctrl-C interrupts at once.

    A context around all of the run, so that calibration, too, ends with a checkpoint.
    """
    stop = StopRequest()

    def receive(number: int, _frame: FrameType | None) -> None:
        if stop.received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.received = signal.Signals(number)
        _log.info("stopping at the end of the step; Ctrl-C again interrupts at once")

    with stop_signals(receive):
        yield stop
