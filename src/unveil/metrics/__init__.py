"""Fidelity metrics under named conventions."""
