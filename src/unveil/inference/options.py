"""What a user chooses about restoring: one set of options for the library, the command, the API."""

from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from unveil.bounded import LARGEST_TILE, MOST_THREADS, SMALLEST_TILE, STRENGTHS
from unveil.errors import InputError
from unveil.imaging import Develop
from unveil.imaging.formats import MAX_MEGAPIXELS
from unveil.inference.strength import Strength
from unveil.models.tasks import Task

if TYPE_CHECKING:
    from torch import nn

    from unveil.inference.loading import LoadedModel

TaskChoice = Literal["auto", Task]
TASKS: tuple[TaskChoice, ...] = ("auto", "denoise", "derain", "dehaze", "deblur")
Tile = int | Literal["auto", "off"]
DEFAULT_MODEL, DENOISER, DEBLURRER = "mtair_small", "cu_mamba_small", "cu_mamba_small_deblur"


@dataclass(frozen=True)
class RestoreOptions:
    """How images are restored; `unveil.Restorer` describes each option.

    Raises:
        InputError: An option is out of its range.

    >>> RestoreOptions(strength=0.5, strength_chroma=1).applied
    Strength(luma=0.5, chroma=1.0)
    """

    model: "str | Path | nn.Module | LoadedModel | None" = None
    task: TaskChoice = "auto"
    strength: float = 1.0
    strength_luma: float | None = None
    strength_chroma: float | None = None
    tile: Tile = "auto"
    ensemble: bool = False
    device: str = "auto"
    threads: int | None = None
    max_megapixels: float = MAX_MEGAPIXELS
    develop: Develop = field(default_factory=Develop)

    def __post_init__(self) -> None:
        require_task(self.task)
        for name in ("strength", "strength_luma", "strength_chroma"):
            _require_strength(name, getattr(self, name))
        _require_tile(self.tile)
        if not isinstance(self.ensemble, bool | np.bool_):
            raise InputError(f"ensemble is {self.ensemble!r}; expected True or False")
        if self.threads is not None and not _is_whole(self.threads, 1, MOST_THREADS):
            raise InputError(
                f"threads is {self.threads!r:.40}; expected 1 to {MOST_THREADS}, or None"
            )
        if not isinstance(self.max_megapixels, Real) or not self.max_megapixels > 0:
            raise InputError(
                f"max_megapixels is {self.max_megapixels!r}; expected a number above 0"
            )

    @property
    def applied(self) -> Strength:
        """The strength of luminance and of colour."""
        chosen = (self.strength_luma, self.strength_chroma)
        return Strength(*(float(self.strength if one is None else one) for one in chosen))


def require_task(task: str) -> None:
    """Refuse what is no task.

    Raises:
        InputError: It is none of `TASKS`.
    """
    if task not in TASKS:
        raise InputError(f"no task {task!r}; there are {', '.join(TASKS)}")


def parse_tile(text: str) -> Tile:
    """Return the option `tile` from text: ``"auto"``, ``"off"`` or digits.

    Raises:
        InputError: It is something else, or out of its range.

    >>> parse_tile("128")
    128
    """
    tile: Any = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else text
    _require_tile(tile)
    checked: Tile = tile
    return checked


def _require_strength(name: str, value: object) -> None:
    least, most = STRENGTHS
    if value is None and name != "strength":
        return
    if not isinstance(value, Real) or not least <= float(value) <= most:
        raise InputError(f"{name} is {least:g} to {most:g}, got {value!r}")


def _require_tile(tile: object) -> None:
    if isinstance(tile, str) and tile in get_args(get_args(Tile)[1]):
        return
    if not _is_whole(tile, SMALLEST_TILE, LARGEST_TILE):
        expected = f"auto, off, or {SMALLEST_TILE} to {LARGEST_TILE} pixels"
        raise InputError(f"tile is {tile!r:.40}; expected {expected}")


def _is_whole(value: object, least: int, most: int) -> bool:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and least <= value <= most  # type: ignore[operator]
