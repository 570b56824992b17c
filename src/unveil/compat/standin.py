"""Puts the stand-in modules where `import` finds them, behind what is installed."""

import importlib
import logging
import sys
from collections.abc import Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_LOG = logging.getLogger(__name__)

_SCAN = "unveil.compat.selective_scan_interface"
_CONVOLUTION = "unveil.compat.causal_conv1d"
_EXTENSIONS = "unveil.compat.extensions"
_NORMS = dict.fromkeys(("RMSNorm", "layer_norm_fn", "rms_norm_fn"), "unveil.compat.layer_norm")

# Module to provide → where its names come from. An empty dict is a package that only holds others.
MODULES: dict[str, dict[str, str]] = {
    "mamba_ssm": {
        "Mamba": "unveil.compat.mamba_simple",
        "selective_scan_fn": _SCAN,
        "mamba_inner_fn": _SCAN,
    },
    "mamba_ssm.modules": {},
    "mamba_ssm.modules.mamba_simple": {
        "Mamba": "unveil.compat.mamba_simple",
        "selective_scan_fn": _SCAN,
        "mamba_inner_fn": _SCAN,
        "causal_conv1d_fn": _CONVOLUTION,
        "causal_conv1d_update": _CONVOLUTION,
        "selective_state_update": "unveil.compat.selective_state_update",
        **_NORMS,
    },
    "mamba_ssm.ops": {},
    "mamba_ssm.ops.selective_scan_interface": {
        "selective_scan_fn": _SCAN,
        "selective_scan_ref": _SCAN,
        "mamba_inner_fn": _SCAN,
        "mamba_inner_ref": _SCAN,
        "SelectiveScanFn": _SCAN,
        "MambaInnerFn": _SCAN,
    },
    "mamba_ssm.ops.triton": {},
    "mamba_ssm.ops.triton.layer_norm": _NORMS,
    "mamba_ssm.ops.triton.layernorm": _NORMS,
    "mamba_ssm.ops.triton.selective_state_update": {
        "selective_state_update": "unveil.compat.selective_state_update",
    },
    "causal_conv1d": {
        "causal_conv1d_fn": _CONVOLUTION,
        "causal_conv1d_update": _CONVOLUTION,
    },
    "causal_conv1d.causal_conv1d_interface": {
        "causal_conv1d_fn": _CONVOLUTION,
        "causal_conv1d_update": _CONVOLUTION,
    },
    "selective_scan": {
        "selective_scan_fn": f"{_EXTENSIONS}:vmamba_scan_fn",
        "selective_scan_ref": f"{_EXTENSIONS}:vmamba_scan_ref",
    },
    "selective_scan_cuda": {"fwd": f"{_EXTENSIONS}:mamba_fwd", "bwd": f"{_EXTENSIONS}:mamba_bwd"},
    "selective_scan_cuda_core": {
        "fwd": f"{_EXTENSIONS}:core_fwd",
        "bwd": f"{_EXTENSIONS}:core_bwd",
    },
    "selective_scan_cuda_oflex": {
        "fwd": f"{_EXTENSIONS}:oflex_fwd",
        "bwd": f"{_EXTENSIONS}:core_bwd",
    },
}

# What tells an installed package that works from one that merely lies there: this must import.
_PROOF = {"mamba_ssm": "mamba_ssm.ops.selective_scan_interface"}

PACKAGES = tuple(name for name in MODULES if "." not in name)


class _StandIn(MetaPathFinder, Loader):
    """Finds and fills the stand-in modules of the packages in `packages`."""

    def __init__(self) -> None:
        self.packages: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        package = fullname.partition(".")[0]
        if package not in self.packages:
            return None
        if fullname not in MODULES:
            _tell_absent(package, fullname)
            return None
        is_package = any(name.startswith(f"{fullname}.") for name in MODULES)
        return ModuleSpec(fullname, self, origin="unveil.compat", is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        for name, source in MODULES[module.__name__].items():
            home, _, attribute = source.partition(":")
            setattr(module, name, getattr(importlib.import_module(home), attribute or name))
        module.__version__ = "1.2.0+unveil"  # type: ignore[attr-defined]
        module.__getattr__ = partial(_absent, module.__name__)  # type: ignore[method-assign]


def _absent(module: str, name: str) -> Any:
    raise AttributeError(
        f"module {module!r}, which unveil stands in for, has no attribute {name!r}", name=name
    )


def _tell_absent(package: str, name: str) -> None:
    """Say whose absence it is: `import` itself would name the package that is stood in for."""
    _LOG.warning(
        "%s is asked for, but unveil stands in for %s here and has no such thing: it provides "
        "Mamba, the selective scan and what belongs to them, not Mamba-2",
        name,
        package,
    )


_FINDER = _StandIn()


def install(*, force: bool = False) -> list[str]:
    """Provide `mamba_ssm`, `causal_conv1d` and VMamba's extension modules to whoever imports them.

    A package that is installed and can be imported is left alone, unless `force`. The modules
    fill themselves at their first import. Calling it again changes nothing.

    Args:
        force: Stand in also for packages that are installed: a build for CUDA imports on a
            machine without a GPU, but does not run there.

    Returns:
        The packages that unveil now stands in for.

    Example:
        >>> "mamba_ssm" in install(force=True)
        True
        >>> from mamba_ssm import Mamba
        >>> uninstall()
    """
    wanted = [name for name in PACKAGES if name not in _FINDER.packages]
    chosen = [name for name in wanted if force or not _works(name)]
    for name in chosen:
        _forget(name)
    for name in set(wanted) - set(chosen):
        _LOG.info("%s is installed and works: leaving it alone", name)
    _FINDER.packages.update(chosen)
    if _FINDER.packages and _FINDER not in sys.meta_path:
        # In front: a broken installation behind it would be found first.
        sys.meta_path.insert(0, _FINDER)
    return sorted(_FINDER.packages)


def uninstall() -> None:
    """Take the stand-ins away again; what already holds their functions keeps them.

    Example:
        >>> uninstall()
    """
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)
    for name in _FINDER.packages:
        _forget(name)
    _FINDER.packages.clear()


def _works(package: str) -> bool:
    """Whether an installed `package` can be imported."""
    try:
        importlib.import_module(_PROOF.get(package, package))
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        if not (isinstance(error, ModuleNotFoundError) and error.name == package):
            _LOG.warning("%s is installed but cannot be imported: %s", package, error)
        _forget(package)
        return False
    return True


def _forget(package: str) -> None:
    for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
        del sys.modules[name]
