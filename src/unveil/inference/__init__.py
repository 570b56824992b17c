"""Pad, tile, restore, blend."""
