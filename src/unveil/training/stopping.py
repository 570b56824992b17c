"""Ask a run to stop at the end of its step when the system or a person says so."""

import logging
import signal
import threading
from types import FrameType
from typing import Any, Self

from lightning.pytorch import Callback, LightningModule, Trainer

_log = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal(Callback):
    """Finish the step on SIGTERM or the first Ctrl-C; a second Ctrl-C interrupts at once.

    It listens as a context, around all of the run: measuring its speed takes a while, too.

    Attributes:
        received: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.getsignal(number) for number in _SIGNALS}
            self._take_over()
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take them over again: Lightning may have put its own handlers in place."""
        del trainer, pl_module
        self._take_over()

    def _take_over(self) -> None:
        for number in self._former:
            signal.signal(number, self._receive)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Stop after this step if any process was told to."""
        wanted = self.received is not None
        if trainer.world_size > 1:
            wanted = trainer.strategy.reduce_boolean_decision(wanted, all=False)
        if wanted:
            trainer.should_stop = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        _log.info("stopping at the end of the step; Ctrl-C again interrupts at once")
