"""Image restoration with selective state-space models, on any machine.

The names below load on first use, so that importing the package stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unveil._version import __version__

if TYPE_CHECKING:
    from unveil.degradations.notation import register_degradation
    from unveil.inference.restorer import Restorer, restore
    from unveil.metrics.registry import register_metric
    from unveil.models.checkpoint import from_pretrained, push_to_hub, save_pretrained
    from unveil.models.registry import create_model, list_models, register_model

_EXPORTS = {
    "Restorer": "unveil.inference.restorer",
    "create_model": "unveil.models.registry",
    "from_pretrained": "unveil.models.checkpoint",
    "list_models": "unveil.models.registry",
    "push_to_hub": "unveil.models.checkpoint",
    "register_degradation": "unveil.degradations.notation",
    "register_metric": "unveil.metrics.registry",
    "register_model": "unveil.models.registry",
    "restore": "unveil.inference.restorer",
    "save_pretrained": "unveil.models.checkpoint",
}

__all__ = [
    "Restorer",
    "__version__",
    "create_model",
    "from_pretrained",
    "list_models",
    "push_to_hub",
    "register_degradation",
    "register_metric",
    "register_model",
    "restore",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'unveil' has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
