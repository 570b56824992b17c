"""Unveil inside other people's programs; nothing of theirs is imported before it is asked for."""
