"""Many files: which are restored, where results go, what has been done already.

The names below load on first use: what hands files to a server needs no network.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unveil.batch.jobs import Job, Plan, plan
    from unveil.batch.outcome import Outcome
    from unveil.batch.run import Saving, restore_files
    from unveil.inference.naming import Naming

_EXPORTS = {
    "Job": "unveil.batch.jobs",
    "Naming": "unveil.inference.naming",
    "Outcome": "unveil.batch.outcome",
    "Plan": "unveil.batch.jobs",
    "Saving": "unveil.batch.run",
    "plan": "unveil.batch.jobs",
    "restore_files": "unveil.batch.run",
}

__all__ = ["Job", "Naming", "Outcome", "Plan", "Saving", "plan", "restore_files"]


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'unveil.batch' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
