import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import unveil
from unveil.imaging import save_png
from unveil.models.checkpoint import from_pretrained

SCRIPT = Path(__file__).parents[2] / "experiments" / "start_from_denoiser.py"


def _start(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, *map(str, words)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_the_all_in_one_network_starts_as_the_denoiser(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for i in range(2):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        save_png(tmp_path / f"{i}.png", coarse.repeat(16, 0).repeat(16, 1))
    _start(monkeypatch, tmp_path, tmp_path / "start")
    assert "apart from the denoiser" in capsys.readouterr().out
    network = from_pretrained(tmp_path / "start").eval()
    assert network.model_id == "mtair_small"
    denoiser = unveil.create_model("cu_mamba_small", pretrained=True).eval()
    clean = torch.rand(2, 3, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    noisy = clean + 0.1 * torch.randn(clean.shape)
    with torch.no_grad():
        removed = denoiser(noisy) - noisy
        apart = network(noisy) - denoiser(noisy)
    assert removed.square().mean() > 1e-3
    assert apart.square().mean() < 0.02 * removed.square().mean()


def test_photographs_too_small_are_named(tmp_path, monkeypatch):
    save_png(tmp_path / "small.png", np.zeros((50, 300, 3), np.uint8))
    with pytest.raises(SystemExit, match="192 pixels"):
        _start(monkeypatch, tmp_path, tmp_path / "start")
