"""The example's network learns through the scan."""

import runpy
import sys
from pathlib import Path

import pytest

_EXAMPLE = Path(__file__).parents[2] / "examples" / "scan_in_your_network.py"


def test_the_error_falls(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(_EXAMPLE), "--steps", "20"])
    runpy.run_path(str(_EXAMPLE), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    first, last = (float(line.split(": ")[1].split()[0]) for line in (lines[0], lines[-1]))
    assert last > first + 5
