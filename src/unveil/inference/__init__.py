"""Pad, tile, restore, blend."""

from unveil.inference.padding import restore_tensor
from unveil.inference.restorer import Restorer, restore

__all__ = ["Restorer", "restore", "restore_tensor"]
