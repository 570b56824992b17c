"""Protocols: data × degradation × metric."""
