"""Moved to `unveil.process`; the name is found here, too."""

from unveil.process import keep_freed_memory

__all__ = ["keep_freed_memory"]
