import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from unveil import create_model
from unveil.imaging import save_png
from unveil.models.checkpoint import save_checkpoint

SCRIPT = Path(__file__).parents[2] / "experiments" / "score_model.py"
SETS = ("cbsd68", "set12", "kodak24", "noise_cc/input", "noise_cc/target")
SCENES = ("a_b_c_d_wall_1", "a_b_c_d_toy_1")


@pytest.fixture
def sets(tmp_path):
    rng = np.random.default_rng(0)
    names = dict.fromkeys(SETS, ("1",))
    names |= {f"noise_polyu/{part}": SCENES for part in ("input", "target")}
    names |= {f"rain100h/test/{part}": ("1",) for part in ("input", "target")}
    for folder, stems in names.items():
        (tmp_path / folder).mkdir(parents=True)
        for stem in stems:
            picture = rng.integers(60, 200, (24, 32, 3), dtype=np.uint8)
            save_png(tmp_path / folder / f"{stem}.png", picture)
    return tmp_path


@pytest.fixture
def score(sets, monkeypatch, capsys):
    """Run the script; return its exit status, output and errors."""
    monkeypatch.setenv("UNVEIL_DATA", str(sets))
    monkeypatch.chdir(sets)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["score_model.py", *map(str, words)])
        code = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_every_row_of_the_denoiser_is_scored_and_kept(sets, score):
    code, out, _ = score("cu_mamba_small")
    assert code == 0
    rows = json.loads((sets / "scores/cu_mamba_small/scores.json").read_text())["rows"]
    assert [row["case"] for row in rows] == [
        "σ = 15", "σ = 25", "σ = 50", "σ = 25", "pairs", "pairs", "identity",
    ]  # fmt: skip
    by_set = {row["data"]: row for row in rows}
    assert by_set["noise_polyu (part)"]["images"] == 1
    assert by_set["kodak24"]["input"] is None
    assert by_set["kodak24"]["passed"] == (by_set["kodak24"]["restored"] >= 50)
    assert all(row["bar"] is None for row in rows if row["case"] == "pairs")
    assert "--include '*_wall_*'" in out
    assert "| noise_cc " in out


def test_another_models_scores_are_kept_unless_forced(sets, score):
    words = ("--output", "out", "--only", "rain100h")
    paths = [save_checkpoint(_network(value), sets / f"{value}.safetensors") for value in (0, 1)]
    assert score(paths[0], *words)[0] == 0
    assert "another evaluation" in score(paths[1], *words)[0]
    assert score(paths[1], *words, "--force")[0] == 0


def _network(value):
    network = create_model("mtair_small")
    next(network.parameters()).data.fill_(value)
    return network


def test_a_network_without_bars_is_refused(sets, score):
    path = save_checkpoint(create_model("mtair_tiny"), sets / "x.safetensors")
    code, _, err = score(path)
    assert code == 2
    assert "mtair_tiny" in err


def test_an_unknown_test_is_refused_and_a_part_leaves_the_whole_alone(sets, score):
    code, _, err = score("cu_mamba_small", "--only", "clean", "typo")
    assert code == 2
    assert "no test typo" in err
    assert score("cu_mamba_small", "--only", "clean")[0] == 0
    folder = sets / "scores/cu_mamba_small"
    assert not (folder / "scores.json").exists()
    assert len(json.loads((folder / "scores-clean.json").read_text())["rows"]) == 1
