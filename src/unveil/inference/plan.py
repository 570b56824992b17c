"""Moved to `unveil.batch`; its public names are found here, too."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Return a public name of `unveil.batch`."""
    return getattr(import_module("unveil.batch"), name)
