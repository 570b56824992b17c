"""The script compares ways of cutting photographs."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from unveil import create_model
from unveil.inference.tiling import Tiling
from unveil.models.checkpoint import save_checkpoint

_SCRIPTS = Path(__file__).parents[2] / "experiments"
_SAMPLES = Path(__file__).parents[2] / "examples" / "samples"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_every_way_gets_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    weights = save_checkpoint(create_model("mtair_tiny"), tmp_path / "tiny.safetensors")
    words = [weights, _SAMPLES, "--limit", 1, "--tiles", 128, 96, "--windows", 64]
    words += ["--overlap", 16, "--enlarge", 0.8, "--with", "haze:heavy", "identity"]
    monkeypatch.setattr(sys, "argv", ["compare_tiling.py", *map(str, words)])
    script = runpy.run_path(str(_SCRIPTS / "compare_tiling.py"), run_name="__main__")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    apart = ["worst", "distance, %", "seam"]
    names = ["", "whole", "windows of 64", "tiles of 128", *apart, "tiles of 96", *apart]
    assert _cells(lines[0]) == names
    hazy, clean = (np.array(_cells(line)[1:], float) for line in lines[2:])
    assert (clean > hazy + 3)[[0, 1, 2, 6]].all()  # near the identity, whatever the way
    assert (np.array([hazy, clean])[:, [5, 9]] >= 1).all()
    assert (
        len(set(script["ways"](Tiling(overlap=16), [128, 96], [64]).values())) == 4
    )  # and the ways do differ


def test_a_bad_degradation_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = save_checkpoint(create_model("mtair_tiny"), tmp_path / "tiny.safetensors")
    words = [str(weights), str(_SAMPLES), "--with", "hail"]
    monkeypatch.setattr(sys, "argv", ["compare_tiling.py", *words])
    with pytest.raises(SystemExit, match="hail"):
        runpy.run_path(str(_SCRIPTS / "compare_tiling.py"), run_name="__main__")


def test_seams_are_found_where_tiles_meet_and_nowhere_else() -> None:
    script = runpy.run_path(str(_SCRIPTS / "compare_tiling.py"))
    noise = 1e-3 * np.random.default_rng(0).standard_normal((200, 220, 3))
    tiling, seam = Tiling(tile=128, overlap=32), script["seam"]
    assert seam(noise, tiling, 8) < 1.2
    noise[:, 110:] += 0.05  # between two tiles of 128, the second of which begins at 96
    assert seam(noise, tiling, 8) > 1.5
