"""What a network changes of clean pictures is measured; pictures beyond the bounds are named."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

import unveil
from unveil.imaging import save_png

_SCRIPT = Path(__file__).parents[2] / "experiments" / "unchanged_pictures.py"


class _Brighter(nn.Module):
    """Adds 2 levels of 255 to the left half of a picture 32 pixels wide."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[..., :16] += 2 / 255
        return y


def test_the_mean_and_the_percentile_are_those_of_the_change() -> None:
    measure = runpy.run_path(str(_SCRIPT))["change"]
    pixels = np.full((32, 32, 3), 100, np.uint8)
    assert measure(unveil.Restorer(_Brighter()), pixels) == (1.0, 2.0)


def test_what_is_changed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_png(tmp_path / "flat.png", np.full((40, 40, 3), 90, np.uint8))
    noisy = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    save_png(tmp_path / "noisy.png", noisy)
    monkeypatch.setattr(sys, "argv", [str(_SCRIPT), "cu_mamba_small", str(tmp_path)])
    runpy.run_path(str(_SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("flat grays: 0.")
    assert [line.split(":")[0] for line in lines[1:]] == [str(tmp_path / "noisy.png"), "kept"]
    assert lines[-1] == "kept: 1 of 2 pictures"
