"""Find and load the kernel library, and let it run in torch's own thread pool.

The library has a plain C interface. It is searched in this order:

1. the file named by the environment variable ``UNVEIL_NATIVE_LIBRARY``;
2. ``_native/`` inside the installed package;
3. ``native/build/`` of the checkout the package runs from.

``UNVEIL_ISA`` (``avx512``, ``avx2``, ``neon`` or ``portable``) forces another instruction set than
the best.
"""

import ctypes
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from unveil.errors import BackendUnavailableError

ABI_VERSION = 1

_NAMES = {"linux": "libunveil_kernels.so", "darwin": "libunveil_kernels.dylib"}
_LIBRARY_NAME = _NAMES.get(sys.platform, "unveil_kernels.dll")
_TORCH_NAMES = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class NativeStatus:
    """What `unveil doctor` prints about the kernel library.

    Attributes:
        path: The library's file, None when there is none.
        abi_version: Version of its interface, None when it was not loaded.
        compiled: Instruction sets the library contains.
        usable: Those this machine can run.
        chosen: The one in use.
        threads: Whether it runs in torch's thread pool (otherwise on one thread).
        reason: Why it cannot be used; None when it can.
    """

    path: Path | None = None
    abi_version: int | None = None
    compiled: tuple[str, ...] = ()
    usable: tuple[str, ...] = ()
    chosen: str | None = None
    threads: bool = False
    reason: str | None = None


def load() -> ctypes.CDLL:
    """Load the kernel library, once.

    Returns:
        The library's handle.

    Raises:
        BackendUnavailableError: There is no library, or it cannot be used, with the reason.
    """
    library, status = _load()
    if library is None:
        raise BackendUnavailableError(status.reason)
    return library


def load_or_none() -> ctypes.CDLL | None:
    """Return the kernel library's handle, None where it cannot be used."""
    return _load()[0]


def status() -> NativeStatus:
    """Describe the kernel library and the instruction set in use.

    Returns:
        Its path, version, instruction sets and, when it cannot be used, the reason.

    >>> status().chosen in ("avx512", "avx2", "neon", "portable", None)
    True
    """
    return _load()[1]


@cache
def _load() -> tuple[ctypes.CDLL | None, NativeStatus]:
    path = _find()
    if isinstance(path, str):
        return None, NativeStatus(reason=path)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return None, NativeStatus(path, reason=f"the kernel library does not load: {error}")
    version = int(library.unveil_abi_version())
    if version != ABI_VERSION:
        reason = f"{path} has interface {version}, expected {ABI_VERSION}: build it anew"
        return None, NativeStatus(path, version, reason=reason)
    return _choose_isa(library, path)


def _find() -> Path | str:
    """Return the library's path, or the reason there is none."""
    named = os.environ.get("UNVEIL_NATIVE_LIBRARY")
    if named:
        path = Path(named)
        return path if path.is_file() else f"UNVEIL_NATIVE_LIBRARY names no file: {named}"
    for folder in (_PACKAGE / "_native", _PACKAGE.parents[1] / "native" / "build"):
        if (folder / _LIBRARY_NAME).is_file():
            return folder / _LIBRARY_NAME
    return "the package was installed without its kernel library (no C++ compiler at install time)"


def _choose_isa(library: ctypes.CDLL, path: Path) -> tuple[ctypes.CDLL | None, NativeStatus]:
    library.unveil_isa_name.restype = ctypes.c_char_p
    names = [library.unveil_isa_name(i).decode() for i in range(library.unveil_isa_count())]
    compiled = tuple(name for i, name in enumerate(names) if library.unveil_isa_compiled(i))
    usable = tuple(name for i, name in enumerate(names) if library.unveil_isa_usable(i))
    forced = os.environ.get("UNVEIL_ISA")
    if forced and forced not in usable:
        reason = f"UNVEIL_ISA={forced} cannot run here, expected one of {', '.join(usable)}"
        return None, NativeStatus(path, ABI_VERSION, compiled, usable, reason=reason)
    if forced:
        library.unveil_isa_choose(names.index(forced))
    threads = _share_thread_pool(library)
    chosen = names[library.unveil_isa_chosen()]
    return library, NativeStatus(path, ABI_VERSION, compiled, usable, chosen, threads)


def _share_thread_pool(library: ctypes.CDLL) -> bool:
    """Hand torch's parallel loop to the library: a second OpenMP runtime would fight with it."""
    name = _TORCH_NAMES.get(sys.platform, "torch_cpu.dll")
    try:
        torch_library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))
        parallel_for = torch_library.torch_parallel_for
        num_threads = torch_library.torch_get_num_threads
    except (OSError, AttributeError):
        return False
    as_pointer = ctypes.c_void_p
    library.unveil_use_thread_pool.argtypes = [as_pointer, as_pointer]
    library.unveil_use_thread_pool.restype = None
    library.unveil_use_thread_pool(
        ctypes.cast(parallel_for, as_pointer), ctypes.cast(num_threads, as_pointer)
    )
    return True


# Below this size the C library reuses freed memory; above, every tensor is new to the system.
_LARGE = 32 << 20
_MADV_HUGEPAGE = 14


def on_large_pages(x: torch.Tensor) -> torch.Tensor:
    """Ask for large pages under a big tensor about to be written: fewer page faults.

    Args:
        x: A new, contiguous tensor; left alone when small, and on other systems than Linux.

    Returns:
        The same tensor.

    >>> x = torch.empty(3)
    >>> on_large_pages(x) is x
    True
    """
    if x.nbytes >= _LARGE and sys.platform == "linux" and x.device.type == "cpu":
        start = -(-x.data_ptr() // 4096) * 4096
        size = ctypes.c_size_t(x.data_ptr() + x.nbytes - start)
        _c_library().madvise(ctypes.c_void_p(start), size, _MADV_HUGEPAGE)
    return x


@cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)
