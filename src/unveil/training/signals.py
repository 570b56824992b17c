"""Signals: SIGTERM and Ctrl-C end a run after its current step."""

import logging
import signal
from contextlib import ExitStack
from types import FrameType
from typing import Self

from unveil.process import stop_signals

_log = logging.getLogger(__name__)


class StopOnSignal:
    """Notes SIGTERM and the first Ctrl-C; a second Ctrl-C interrupts at once.

    A context around all of the run, so that calibration, too, ends with a checkpoint.

    Attributes:
        received: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._handlers = ExitStack()

    def __enter__(self) -> Self:
        """Install the handlers, in the main thread."""
        self._handlers.enter_context(stop_signals(self._receive))
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the former handlers."""
        self._handlers.close()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        _log.info("stopping at the end of the step; Ctrl-C again interrupts at once")
