"""Modules that both families of networks use."""
