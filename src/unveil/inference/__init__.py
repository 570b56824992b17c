"""Pad, tile, restore, blend.

The names below load on first use: what hands files to a server needs no network.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unveil.inference.padding import restore_tensor
    from unveil.inference.restorer import Restorer, restore

_EXPORTS = {
    "Restorer": "unveil.inference.restorer",
    "restore": "unveil.inference.restorer",
    "restore_tensor": "unveil.inference.padding",
}

__all__ = ["Restorer", "restore", "restore_tensor"]


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'unveil.inference' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
