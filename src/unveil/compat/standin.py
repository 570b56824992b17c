"""Puts the stand-in modules where `import` finds them, in front of what cannot scan."""

import importlib
import importlib.util
import logging
import sys
from collections.abc import Sequence
from dis import opmap
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from unveil.compat.inventory import ABSENT, LANGUAGE, MODULES, PACKAGES, TRITON, VERSIONS
from unveil.compat.proof import failure

_LOG = logging.getLogger(__name__)


class _StandIn(MetaPathFinder, Loader):
    """Finds and fills the stand-in modules.

    Attributes:
        packages: Packages that are stood in for.
        beneath: Modules that are stood in for inside a package that is somebody else's.
    """

    def __init__(self) -> None:
        self.packages: set[str] = set()
        self.beneath: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del target
        package = fullname.partition(".")[0]
        if package in self.packages:
            if fullname in MODULES:
                return self._spec(fullname, fullname)
            if _is_import(sys._getframe(1)):
                raise ModuleNotFoundError(_sentence("module", fullname), name=fullname)
            return None
        if fullname in self.beneath:
            return self._spec(fullname, fullname)
        original = _original(fullname, path)
        return None if original is None else self._spec(fullname, original)

    def _spec(self, name: str, original: str) -> ModuleSpec:
        is_package = any(module.startswith(f"{original}.") for module in MODULES)
        spec = ModuleSpec(name, self, origin="unveil.compat", is_package=is_package)
        spec.loader_state = original
        return spec

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        for name, source in MODULES[spec.loader_state].items():
            home, _, attribute = source.partition(":")
            setattr(module, name, getattr(importlib.import_module(home), attribute or name))
        package = spec.loader_state.partition(".")[0]
        module.__version__ = VERSIONS.get(package, "0+unveil")  # type: ignore[attr-defined]
        module.__getattr__ = partial(_absent, module.__name__)  # type: ignore[method-assign]


def _original(name: str, path: Sequence[str] | None) -> str | None:
    """Return the module that `name` is a copy of, if it is a repository's copy of Triton kernels.

    Repositories carry mamba_ssm's Triton files inside packages of their own. They are recognised by
    the file's name and by a kernel in it.
    """
    original = TRITON + name.rpartition(".")[2]
    if original not in MODULES:
        return None
    spec = PathFinder.find_spec(name, path)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    source = Path(spec.origin).read_text(encoding="utf-8", errors="replace")
    if "@triton.jit" not in source or _has_gpu():
        return None
    _LOG.info("%s holds Triton kernels: %s stands in for it", name, original)
    return original


def _absent(module: str, name: str) -> Any:
    sentence = _sentence("name", f"{module}.{name}")
    frame = sys._getframe(1)
    if frame.f_code.co_code[frame.f_lasti] == opmap["IMPORT_FROM"]:
        # Otherwise Python's own message would give the place as "unknown location". Scripts that
        # put None in the place of a missing name fail later, elsewhere: say it now.
        _LOG.warning("%s", sentence)
        raise ImportError(sentence, name=module)
    raise AttributeError(sentence, name=name)


def _sentence(kind: str, name: str) -> str:
    package = name.partition(".")[0]
    reasons = [reason for start, reason in ABSENT if f"{name}.".startswith(f"{start}.")]
    reason = f": {reasons[0]}" if reasons else ""
    return (
        f"unveil stands in for {package} here and has no {kind} {name}{reason} "
        "(docs/compat.md lists what is provided)"
    )


def _is_import(frame: FrameType | None) -> bool:
    """Whether a finder was called by `import`, not by somebody who only looks for the module."""
    while frame is not None and frame.f_code.co_name in ("_find_spec", "_find_spec_legacy"):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "_find_and_load_unlocked"


_FINDER = _StandIn()


def install(*, force: bool = False) -> list[str]:
    """Provide `mamba_ssm`, `causal_conv1d` and extension modules to whoever imports them.

    A package that is installed and can scan on this machine is left alone, unless `force`. One that
    is written in Python alone, as Vision Mamba's fork, is used with unveil's extension modules and
    functions beneath it. The modules fill themselves at their first import. Calling it again
    changes nothing.

    Args:
        force: Stand in also for packages that are installed and can scan.

    Returns:
        The packages that unveil now stands in for.

    Example:
        >>> "mamba_ssm" in install(force=True)
        True
        >>> from mamba_ssm import Mamba
        >>> uninstall()
    """
    if _FINDER not in sys.meta_path:
        # In front: a broken installation behind it would be found first.
        sys.meta_path.insert(0, _FINDER)
    for name in PACKAGES:
        if name not in _FINDER.packages and (force or not _scans(name)):
            _forget(name)
            _FINDER.packages.add(name)
    return sorted(_FINDER.packages)


def uninstall() -> None:
    """Take the stand-ins away again; what already holds their functions keeps them.

    Example:
        >>> uninstall()
    """
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)
    for name in _FINDER.packages | {module.partition(".")[0] for module in _FINDER.beneath}:
        _forget(name)
    _FINDER.packages.clear()
    _FINDER.beneath.clear()


def _scans(package: str) -> bool:
    """Whether an installed `package` scans on this machine; what it needs beneath is put there."""
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        return False
    whole = package != "mamba_ssm" or _has_gpu()
    for modules in [frozenset()] if whole else _beneath():
        if modules:
            _forget(package)
        _FINDER.beneath |= modules
        reason = failure(package)
        if reason is None:
            _LOG.info("%s is installed and scans: leaving it alone", package)
            return True
        _forget(package)
        _FINDER.beneath -= modules
    _LOG.warning("%s is installed but cannot scan here: %s", package, reason)
    return False


def _beneath() -> list[frozenset[str]]:
    kernels = frozenset(name for name in MODULES if name.startswith(TRITON))
    return [kernels, kernels | set(LANGUAGE)]


def _has_gpu() -> bool:
    import torch  # noqa: PLC0415 - slow, and needed only where a package is installed

    return torch.cuda.is_available()


def _forget(package: str) -> None:
    for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
        del sys.modules[name]
