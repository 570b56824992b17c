"""What became of a file, restored here or by a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes:
        source: Its path.
        target: Path of the result.
        status: ``"restored"``, ``"skipped"`` because the result was there, or ``"failed"``.
        reason: Of a failure, in one line.
        megapixels: Size of the image.
        seconds: Time the network took.
    """

    source: Path
    target: Path
    status: Literal["restored", "skipped", "failed"]
    reason: str = ""
    megapixels: float = 0.0
    seconds: float = 0.0
