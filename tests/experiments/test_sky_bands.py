"""The bars on bands in skies are measured by one command."""

import runpy
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[2] / "experiments" / "sky_bands.py"


def test_the_input_has_the_bands_that_were_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(_SCRIPT), "identity", "--skies", "2"])
    runpy.run_path(str(_SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    bands = [float(line.split("|")[3]) for line in lines if "=" in line and "input" in line]
    assert bands[:2] == [0.18, 0.17]
    assert len(bands) == 3
    assert bands[2] < 0.2
