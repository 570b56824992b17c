"""The example trains on pairs and compares the result with where it began."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from unveil.data.toy import draw_picture
from unveil.imaging import save_png

_EXAMPLE = Path(__file__).parents[2] / "examples" / "fine_tune.py"
# Two small steps in place of an hour.
_SHORT = (
    "schedule.duration=null",
    "schedule.steps=2",
    "schedule.phases=[{until: 1, patch: 16, batch: 1}]",
    "data.workers=0",
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_a_network_learns_from_pairs_and_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for side in ("input", "target"):
            (tmp_path / part / side).mkdir(parents=True)
        clean = draw_picture(48, rng)
        noisy = np.clip(clean + rng.normal(0, 25, clean.shape), 0, 255).astype(np.uint8)
        save_png(tmp_path / part / "input" / "0.png", noisy)
        save_png(tmp_path / part / "target" / "0.png", clean)
    words = [tmp_path / "train", tmp_path / "val", "--out", tmp_path / "run", "--set", *_SHORT]
    monkeypatch.setattr(sys, "argv", [str(_EXAMPLE), *map(str, words)])
    runpy.run_path(str(_EXAMPLE), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    levels = {name: float(level.split()[0]) for name, level in (x.split(": ") for x in lines[-3:])}
    assert levels["the input"] < levels["cu_mamba_small"] < 60
    assert levels[f"{tmp_path / 'run'}/best"] > levels["the input"]
