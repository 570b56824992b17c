import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import unveil
from unveil.imaging import load_rgb, save_png
from unveil.models.checkpoint import from_pretrained

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "examples" / "samples"
SCRIPT = ROOT / "experiments" / "start_from_denoiser.py"


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
    photo = torch.from_numpy(load_rgb(SAMPLES / "chelsea.png")).permute(2, 0, 1)[None] / 255
    torch.manual_seed(0)
    noisy = photo[..., :192, :192] + 0.1 * torch.randn(1, 3, 192, 192)
    with torch.no_grad():
        removed = denoiser(noisy) - noisy
        apart = network(noisy) - denoiser(noisy)
    assert removed.square().mean() > 1e-3
    # A scan runs in opposite orders.
    assert apart.square().mean() < 0.15 * removed.square().mean()


def test_photographs_too_small_are_named(tmp_path, monkeypatch):
    save_png(tmp_path / "small.png", np.zeros((50, 300, 3), np.uint8))
    with pytest.raises(SystemExit, match="192 pixels"):
        _start(monkeypatch, tmp_path, tmp_path / "start")
