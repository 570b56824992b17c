"""Signals: SIGTERM and Ctrl-C end a run after its current step."""

import logging
import signal
import threading
from types import FrameType
from typing import Any, Self

_log = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal:
    """Notes SIGTERM and the first Ctrl-C; a second Ctrl-C interrupts at once.

    A context around all of the run, so that calibration, too, ends with a checkpoint.

    Attributes:
        received: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers, in the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the former handlers."""
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        _log.info("stopping at the end of the step; Ctrl-C again interrupts at once")
