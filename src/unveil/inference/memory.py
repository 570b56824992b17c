"""How much memory there is, how much a network takes, and whether an error means there was none."""

import contextlib
import os
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_PROBES = (64, 192)
# A kernel's scratch space and the allocator's rounding are not seen by the probe.
_MARGIN = 1.5
_MEASURED: weakref.WeakKeyDictionary[nn.Module, float] = weakref.WeakKeyDictionary()
# Where control groups are mounted, and the file that says which of them are ours.
_MOUNTED, _OURS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Their limit, their use, and what precedes the names in their statistics: version 2, version 1.
_UNIFIED = ("memory.max", "memory.current", "")
_MEMORY = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory ran out.

    >>> is_out_of_memory(MemoryError())
    True
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "not enough memory" in text
    )


def available_bytes(device: torch.device) -> int | None:
    """Return the memory a pass may take on `device`; None where that is unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [_system(), _cgroup(), _address_space()]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def bytes_per_pixel(model: nn.Module, device: torch.device) -> float:
    """Measure what a pass of `model` takes per pixel, by watching two small ones; once per network.

    Args:
        model: A restoration network.
        device: Where it lies.
    """
    if model not in _MEASURED:
        multiple = getattr(model, "size_multiple", 1)
        small, large = (-(-side // multiple) * multiple for side in _PROBES)
        growth = _peak(model, device, large) - _peak(model, device, small)
        _MEASURED[model] = float(_MARGIN * growth / (large**2 - small**2))
    return _MEASURED[model]


def _peak(model: nn.Module, device: torch.device, side: int) -> int:
    with torch.no_grad(), _Watch() as watch:
        model(torch.zeros(1, 3, side, side, device=device))
    return int(watch.peak)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follow the bytes of living tensors that were made inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._follow(tensor.untyped_storage())
        return out

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def _system() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _cgroup() -> int | None:
    """Return the least that the control groups (a container's limits) around us leave."""
    rooms: list[int | None] = []
    with contextlib.suppress(OSError, ValueError):
        for line in _OURS.read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            if not controllers:
                rooms += [_room(group, *_UNIFIED) for group in _upwards(_MOUNTED, own)]
            elif "memory" in controllers.split(","):
                rooms += [_room(group, *_MEMORY) for group in _upwards(_MOUNTED / "memory", own)]
    return min((room for room in rooms if room is not None), default=None)


def _upwards(root: Path, own: str) -> list[Path]:
    """Return a group and those above it; inside a container some are not to be seen."""
    group = root / own.lstrip("/")
    return [folder for folder in (group, *group.parents) if folder.is_relative_to(root)]


def _room(group: Path, limit: str, used: str, prefix: str) -> int | None:
    """Return what one control group leaves, its page cache included; None without a limit."""
    with contextlib.suppress(OSError, ValueError):  # not there; "max"
        left = int((group / limit).read_text()) - int((group / used).read_text())
        return left + _page_cache(group, prefix)
    return None


def _page_cache(group: Path, prefix: str) -> int:
    """Return what files take that were read or written: the kernel frees it on demand."""
    names = {f"{prefix}inactive_file", f"{prefix}active_file"}
    with contextlib.suppress(OSError, ValueError):
        lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        return sum(int(value) for name, value in lines if name in names)
    return 0


def _address_space() -> int | None:
    """Return what `ulimit -v` leaves."""
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource  # noqa: PLC0415 - not on Windows

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            used = int(Path("/proc/self/statm").read_text().split()[0])
            return soft - used * resource.getpagesize()
    return None
