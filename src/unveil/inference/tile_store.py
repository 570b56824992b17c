"""Features of an image's tiles that wait: as half-precision floats, on disk where they are many."""

import logging
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from typing import IO, Any

import torch
from torch import Tensor

from unveil.errors import OutputError
from unveil.imaging.scratch import temporary_file
from unveil.inference.memory import available_bytes

# Of the memory and of the disk that are free, for one store.
_SHARE_OF_ROOM = 0.5
# Largest value that is kept as it is; tensors with larger ones are scaled.
_LARGEST = 6e4
# First row and column of a tile.
Corner = tuple[int, int]

_log = logging.getLogger(__name__)


class TileStore:
    """Keeps tensors by tile; those for which there is no room are not kept.

    Args:
        tiles: Tiles of the image.
        in_memory: Bytes that may lie in memory; if all tiles' take more, they lie in a file.
    """

    def __init__(self, tiles: int, in_memory: int) -> None:
        self._tiles, self._in_memory = tiles, in_memory
        self._slots = _Slots(0, 0, 0)
        self._used = 0
        self._kept: dict[Corner, tuple[_Slots, int, list[tuple[torch.Size, float]]]] = {}

    def put(self, corner: Corner, tensors: Sequence[Tensor]) -> bool:
        """Keep a tile's tensors in place of those that were kept of it before.

        Args:
            corner: First row and column of the tile.
            tensors: All tiles' take about as much room.

        Returns:
            Whether there was room.
        """
        size = sum(tensor.numel() for tensor in tensors)
        found = self._slot(corner, size)
        if found is None:
            return False
        slots, slot = found
        buffer = slots.buffer(slot)[:size]
        kept = []
        parts = torch.split(buffer, [tensor.numel() for tensor in tensors])
        for part, tensor in zip(parts, tensors, strict=True):
            scale = scale_of(tensor)
            kept.append((tensor.shape, scale))
            part.view(tensor.shape).copy_(tensor if scale == 1 else tensor / scale)
        slots.save(slot, buffer)
        self._kept[corner] = slots, slot, kept
        return True

    def get(self, corner: Corner) -> list[Tensor] | None:
        """Return a tile's tensors, float32; None if they were not kept."""
        if corner not in self._kept:
            return None
        slots, slot, kept = self._kept[corner]
        sizes = [shape.numel() for shape, _ in kept]
        parts = torch.split(slots.load(slot, sum(sizes)), sizes)
        return [
            part.float().mul_(scale).view(shape) if scale != 1 else part.float().view(shape)
            for part, (shape, scale) in zip(parts, kept, strict=True)
        ]

    def _slot(self, corner: Corner, size: int) -> "tuple[_Slots, int] | None":
        if corner in self._kept:
            slots, slot, _ = self._kept.pop(corner)
            if slots.size >= size:
                return slots, slot
        if size > self._slots.size:
            self._slots, self._used = _Slots(self._tiles, size, self._in_memory), 0
        if self._used == self._slots.number:
            return None
        self._used += 1
        return self._slots, self._used - 1


class _Slots:
    """Equal places for half-precision floats: in memory, or in a file where they take more."""

    def __init__(self, number: int, size: int, most: int) -> None:
        self.size = size
        self.number = min(number, int(_room() * _SHARE_OF_ROOM) // (2 * size)) if size else 0
        self._memory: Tensor | None = None
        self._file: IO[bytes] | None = None
        if 2 * size * self.number <= most:
            self._memory = torch.empty(self.number, size, dtype=torch.float16)
            return
        try:
            self._file = temporary_file(2 * size * self.number)
            weakref.finalize(self, self._file.close)
        except OutputError as error:
            _log.info("tiles are computed again: %s", error)
            self.number = 0

    def buffer(self, slot: int) -> Tensor:
        """Return where to write what a slot shall hold."""
        if self._memory is not None:
            return self._memory[slot]
        return torch.empty(self.size, dtype=torch.float16)

    def save(self, slot: int, buffer: Tensor) -> None:
        """Keep a buffer that was written."""
        if self._memory is None:
            self._at(slot).write(_bytes_of(buffer))

    def load(self, slot: int, size: int) -> Tensor:
        """Return the first values of a slot."""
        if self._memory is not None:
            return self._memory[slot][:size]
        buffer = torch.empty(size, dtype=torch.float16)
        self._at(slot).readinto(_bytes_of(buffer))  # type: ignore[attr-defined]
        return buffer

    def _at(self, slot: int) -> IO[bytes]:
        assert self._file is not None, "slots are in the file"
        self._file.seek(2 * self.size * slot)
        return self._file


def _bytes_of(buffer: Tensor) -> memoryview:
    values: Any = buffer.numpy()
    return memoryview(values).cast("B")


def rounded(tensor: Tensor) -> Tensor:
    """Return a tensor as `TileStore` would give it back."""
    scale = scale_of(tensor)
    return (tensor / scale).half().to(tensor.dtype).mul_(scale)


def scale_of(tensor: Tensor) -> float:
    """Return what a tensor is divided by before it is kept in half precision.

    >>> scale_of(torch.tensor([-3.0, 2.0])), scale_of(torch.tensor([1.2e5]))
    (1.0, 2.0)
    """
    low, high = tensor.aminmax()
    return max(1.0, float(torch.maximum(-low, high)) / _LARGEST)


def _room() -> int:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    memory = available_bytes(torch.device("cpu"))
    return free if memory is None else min(free, memory)
