"""Every error unveil raises on purpose.

Messages are one line and say what was given, what was expected and what to do. The command line
prints them as they are; programs catch `UnveilError`, or the builtin type that a class also is.
"""


class UnveilError(Exception):
    """Base of every error raised on purpose."""


class InputError(UnveilError, ValueError):
    """An argument has the wrong shape, type or range."""


class BackendUnavailableError(UnveilError, RuntimeError):
    """A backend that was asked for by name cannot run this call here."""


class MissingExtraError(UnveilError, ImportError):
    """A feature needs an optional dependency that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        """Name the feature and the extra that brings it.

        Args:
            feature: What was asked for, as the subject of a sentence.
            extra: Name of the extra, e.g. ``"train"``.
        """
        super().__init__(
            f'{feature} needs an extra: pip install "unveil[{extra}]", '
            f'or in a checkout pip install ".[{extra}]"'
        )


class ImageFileError(UnveilError, OSError):
    """An image file cannot be read: missing, damaged, unsupported or too large."""


class ImageTooLargeError(ImageFileError):
    """An image has more pixels, or its file more bytes, than is allowed."""


class OutputError(UnveilError, OSError):
    """A result cannot be written: no space, no permission, or it would overwrite something."""


class CheckpointError(UnveilError, ValueError):
    """A weights file is damaged, foreign or does not fit the model."""


class RecipeError(UnveilError, ValueError):
    """A training recipe is invalid."""


class DataError(UnveilError, ValueError):
    """A set of training or test images cannot be used."""


class TrainingError(UnveilError, RuntimeError):
    """Training cannot go on: the loss or a gradient is not finite."""


class BusyError(UnveilError, RuntimeError):
    """The server cannot take a job now: its queue is full, or it is stopping.

    Attributes:
        retry_after_s: Seconds after which another try makes sense.
    """

    def __init__(self, reason: str, retry_after_s: int) -> None:
        """Set the reason, and the wait before another try."""
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class ServerError(UnveilError, ConnectionError):
    """A server that restores cannot be reached, or refuses."""


class TimedOutError(UnveilError, TimeoutError):
    """A job took longer than it may."""


class CancelledError(UnveilError, RuntimeError):
    """A job was given up by who had asked for it."""
