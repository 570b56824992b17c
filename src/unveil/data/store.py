"""Decoded photos in memory, up to a limit."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unveil.errors import ImageFileError
from unveil.imaging import load_rgb

_log = logging.getLogger(__name__)
Pixels = NDArray[np.uint8]


def to_uint8(pixels: NDArray[Any]) -> Pixels:
    """Round samples of any type to 8 bits; float is taken as [0, 1].

    >>> to_uint8(np.array([0, 128, 129, 65535], np.uint16)).tolist()
    [0, 0, 1, 255]
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.asarray(np.rint(np.clip(pixels, 0, 1) * 255), dtype=np.uint8)


class ImageStore:
    """Photos by path, decoded once and kept as uint8 while they fit, else read at every request.

    Forked worker processes share what was loaded before they started. Processes started otherwise
    get an empty store and fill their own.
    """

    def __init__(self, limit_bytes: int = 4 * 2**30) -> None:
        """Start empty.

        Args:
            limit_bytes: Memory for decoded photos.
        """
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._pixels: dict[Path, Pixels] = {}

    def __contains__(self, path: Path) -> bool:
        return path in self._pixels

    def get(self, path: Path) -> Pixels:
        """Return a photo as (h, w, 3) uint8; do not write into it.

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

    def preload(
        self, paths: Iterable[Path], *, progress: Callable[[int, int], None] | None = None
    ) -> int:
        """Decode photos until the limit is reached.

        Args:
            paths: In the order of importance.
            progress: Called with the number done and the number of all.

        Returns:
            How many photos are in memory.

        Raises:
            ImageFileError: A file cannot be read.
        """
        wanted = list(dict.fromkeys(paths))
        for done, path in enumerate(wanted):
            before = self.used_bytes
            if path not in self and self.get(path).nbytes and self.used_bytes == before:
                _log.info(
                    "%d of %d photos fill the limit of %d MB; the others are read when needed",
                    len(self._pixels),
                    len(wanted),
                    self.limit_bytes // 2**20,
                )
                break
            if progress is not None:
                progress(done + 1, len(wanted))
        return len(self._pixels)

    def readable(self, path: Path) -> bool:
        """Say whether a file can be decoded, keeping the photo if it fits."""
        try:
            self.get(path)
        except ImageFileError:
            return False
        return True

    def __getstate__(self) -> dict[str, Any]:
        """Leave the pixels behind: another process reads them itself."""
        return {"limit_bytes": self.limit_bytes, "used_bytes": 0, "_pixels": {}}
