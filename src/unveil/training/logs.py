"""A run's logs: CSV tables that survive a kill, and TensorBoard."""

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unveil.bounded import is_name_byte
from unveil.errors import OutputError
from unveil.imaging.atomic import replacing
from unveil.training.validation import Validation

# Seconds are means per step; `other` is the rest of a step: logs, this process.
PARTS = ("data", "forward", "backward", "optimiser", "other")
TRAIN_COLUMNS = (
    "step",
    "loss",
    "norm",
    "lr",
    "patch",
    "batch",
    "images_per_second",
    *PARTS,
    "memory_mb",
)


_log = logging.getLogger(__name__)


def _step_of(row: Mapping[str, str | None]) -> int:
    """Return a row's step; -1 where a kill, or somebody, left something else."""
    text = row.get("step") or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else -1


class CsvTable:
    """A table with a `step` column, written row by row.

    A resumed run drops the rows of steps it is going to repeat.

    Args:
        path: The file; its folder exists.
        columns: Names of the columns, `step` first.
        start: Steps already done; later rows are dropped.
    """

    def __init__(self, path: Path, columns: Sequence[str], start: int) -> None:
        self.path = path
        kept = self._rows(start)
        # What a resumed run no longer fills in stays.
        self.columns = list(dict.fromkeys([*columns, *(kept[0] if kept else ())]))
        with (
            replacing(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)

    def _rows(self, start: int) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        # A kill may have cut the last row short.
        return [row for row in rows if 0 <= _step_of(row) <= start]

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; numbers are shortened to six digits.

        Raises:
            OutputError: The disk is full or the folder gone.
        """
        shown = {key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()}
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore")
                writer.writerow(shown)
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error


class _Board:
    """TensorBoard's event files.

    Args:
        folder: Where they go.
        start: Steps already done; later events of an earlier part are hidden.
    """

    def __init__(self, folder: Path, start: int) -> None:
        self._writer: Any = None
        if any(map(is_name_byte, str(folder))):
            _log.warning("TensorBoard takes names of UTF-8 only: no events in %r", str(folder))
            return
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - slow to import

        self._writer = SummaryWriter(str(folder), purge_step=start + 1 if start else None)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if self._writer is not None:
                self._writer.add_scalar(name, value, step)

    def image(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        if self._writer is not None:
            self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class RunLogs:
    """All of a run's logs: `train.csv`, `validation.csv` and TensorBoard's events.

    Args:
        out: Folder of the run.
        groups: Names of the validation's groups.
        start: Steps already done.
    """

    def __init__(self, out: Path, groups: Sequence[str], start: int) -> None:
        self._train = CsvTable(out / "train.csv", TRAIN_COLUMNS, start)
        columns = ["step", "psnr", *groups, "seconds"]
        self._validation = CsvTable(out / "validation.csv", columns, start)
        self._board = _Board(out / "tensorboard", start)

    def progress(self, values: Mapping[str, float]) -> None:
        """Log a stretch of steps, see `TRAIN_COLUMNS`."""
        self._train.add(values)
        shown = {f"train/{key}": value for key, value in values.items() if key != "step"}
        self._board.scalars(int(values["step"]), shown)

    def validation(self, step: int, result: Validation) -> None:
        """Log a validation's scores and image.

        Args:
            step: Steps done.
            result: Scores and image.
        """
        row = {"step": step, "psnr": result.psnr, **result.groups, "seconds": result.seconds}
        self._validation.add(row)
        scores = {f"validation/{group}": value for group, value in result.groups.items()}
        self._board.scalars(step, {"validation/psnr": result.psnr, **scores})
        self._board.image(step, "degraded | restored | clean", result.montage)

    def close(self) -> None:
        """Write what is still buffered."""
        self._board.close()
