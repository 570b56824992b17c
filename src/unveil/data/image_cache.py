"""Decoded photos in memory, up to a limit."""

import logging
import os
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unveil.imaging import load_rgb
from unveil.imaging.convert import to_uint8
from unveil.imaging.image import Uint8Image

_log = logging.getLogger(__name__)


class ImageStore:
    """Photos by path, decoded once and kept as uint8 while they fit, else read at every request.

    Pickled, for a worker process, the photos travel as a file that all processes map into their
    memory: there is one copy for all of them.
    """

    def __init__(self, limit_bytes: int = 4 * 2**30) -> None:
        """Start empty.

        Args:
            limit_bytes: Memory for decoded photos.
        """
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._pixels: dict[Path, Uint8Image] = {}
        self._spilled: _Spilled | None = None

    def __contains__(self, path: Path) -> bool:
        return path in self._pixels

    def get(self, path: Path) -> Uint8Image:
        """Return a photo as ``(h, w, 3)`` uint8; do not write into it.

        Raises:
            ImageFileError: The file cannot be read.
        """
        kept = self._pixels.get(path)
        if kept is not None:
            return kept
        pixels = to_uint8(load_rgb(path))
        if self.used_bytes + pixels.nbytes <= self.limit_bytes:
            self._pixels[path] = pixels
            self.used_bytes += pixels.nbytes
        return pixels

    def __getstate__(self) -> dict[str, Any]:
        """Write the photos to a file, once, and hand on where they are in it."""
        if self._pixels and (self._spilled is None or len(self._spilled.where) < len(self._pixels)):
            self._spilled = _spill(self._pixels)
            if self._spilled is not None:
                weakref.finalize(self, _remove, self._spilled.file)
                self._map(self._spilled)
        return {"limit_bytes": self.limit_bytes, "spilled": self._spilled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Map the photos' file; a process that comes too late to find it reads them itself."""
        self.__init__(state["limit_bytes"])  # type: ignore[misc]
        spilled: _Spilled | None = state["spilled"]
        if spilled is not None and spilled.file.exists():
            self._map(spilled)

    def _map(self, spilled: "_Spilled") -> None:
        levels = np.memmap(spilled.file, np.uint8, mode="r")
        for path, (start, shape) in spilled.where.items():
            self._pixels[path] = levels[start : start + int(np.prod(shape))].reshape(shape)
        self.used_bytes = levels.nbytes


class _Spilled(NamedTuple):
    """A file of photos, with the start and shape of each."""

    file: Path
    where: dict[Path, tuple[int, tuple[int, ...]]]


def _spill(photos: dict[Path, Uint8Image]) -> _Spilled | None:
    where: dict[Path, tuple[int, tuple[int, ...]]] = {}
    start = 0
    handle, name = tempfile.mkstemp(prefix="unveil-photos-")
    try:
        with os.fdopen(handle, "wb") as file:
            for path, pixels in photos.items():
                file.write(np.ascontiguousarray(pixels).data)
                where[path] = (start, pixels.shape)
                start += pixels.nbytes
    except OSError as error:
        _log.warning(
            "no room for %s (%s): each worker reads the photos itself", name, error.strerror
        )
        _remove(Path(name))
        return None
    return _Spilled(Path(name), where)


def _remove(file: Path) -> None:
    # Windows refuses while a worker still has the file mapped.
    with suppress(OSError):
        file.unlink()
