"""The machine, and which parts of unveil run on it, for `unveil doctor` and benchmark reports."""

import platform
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import torch

from unveil._version import __version__, library_version
from unveil.errors import BackendUnavailableError
from unveil.ops import native, selective_scan
from unveil.ops.dispatch import environment_backend
from unveil.ops.selective_scan.contract import BACKENDS
from unveil.process import usable_cores

_LIBRARIES = ("torch", "numpy", "pyvips", "safetensors", "pydantic", "huggingface_hub")
# Import name of the library that stands for each extra.
_EXTRAS = {
    "eval": "skimage",
    "train": "lightning_fabric",
    "heic": "pillow_heif",
    "raw": "rawpy",
    "jxl": "imagecodecs",
    "pnm": "netpbmfile",
    "onnx": "onnxscript",
    "video": "av",
    "bench": "mambapy",
    "gpu": "triton",
    "ray": "ray",
    "serve": "uvicorn",
}


def describe_machine() -> dict[str, Any]:
    """Describe the machine, the libraries and the scan's backends.

    Returns:
        Plain values that fit into JSON. `backends` maps each backend's name to None when it can
        run here, or to the reason why it cannot.

    Example:
        >>> describe_machine()["backends"]["reference"] is None
        True
    """
    return {
        "unveil": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": {name: library_version(name) for name in _LIBRARIES},
        "extras": {extra: find_spec(name) is not None for extra, name in _EXTRAS.items()},
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.cuda.is_available(),
        "kernel": asdict(native.status()) | {"path": str(native.status().path or "none")},
        "backends": {name: _why_not(name) for name in BACKENDS if name != "auto"},
        "forced_backend": environment_backend(),
    }


def _why_not(backend: Any) -> str | None:
    """Run the smallest scan there is and return why it could not; None when it could."""
    token = torch.ones(1, 1, 1)
    try:
        selective_scan(token, token, -token[0], token, token, backend=backend)
    except BackendUnavailableError as error:
        return str(error)
    return None
