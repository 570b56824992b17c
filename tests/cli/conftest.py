"""Photographs to run the command on, and the running of it."""

import numpy as np
import pytest

from unveil.cli.app import main
from unveil.imaging import save_png


@pytest.fixture
def folder(tmp_path):
    clean = tmp_path / "photos"
    clean.mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        save_png(clean / f"{k}.png", rng.integers(60, 200, (24, 32, 3), dtype=np.uint8))
    return clean


@pytest.fixture
def run(capsys):
    """Run the command; return its exit code, output and errors."""

    def call(*words):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call
