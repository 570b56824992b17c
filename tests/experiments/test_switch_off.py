"""The script switches parts of a network off, and on again."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from unveil import create_model
from unveil.models.checkpoint import save_checkpoint

_SCRIPT = Path(__file__).parents[2] / "experiments/switch_off.py"
_SAMPLES = Path(__file__).parents[2] / "examples" / "samples"


@pytest.mark.parametrize("model", ["cu_mamba_tiny", "mtair_tiny"])
def test_a_switch_takes_its_part_out_and_puts_it_back(model: str) -> None:
    script = runpy.run_path(str(_SCRIPT))
    torch.manual_seed(0)
    network = create_model(model, scan_norm=True).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm.bias" in name or name.endswith("layer_scale"):
                parameter.fill_(1.0)
        x = torch.rand(1, 3, 48, 48)
        y = network(x)
        for name in ("without_latent", "without_scans"):
            with script[name](network):
                assert (network(x) - y).abs().max() > 1e-4, name
            assert torch.equal(network(x), y), name
        with script["whole"](network):
            assert torch.equal(network(x), y)


def test_without_scans_no_scan_remembers() -> None:
    script = runpy.run_path(str(_SCRIPT))
    torch.manual_seed(0)
    network = create_model("mtair_tiny").eval()
    scan = next(m for m in network.modules() if type(m).__name__ == "ImageScan")
    u = torch.randn(1, 4, 5, scan.D.shape[1])
    with torch.no_grad(), script["without_scans"](network):
        torch.testing.assert_close(scan(u), u * scan.D.sum(0))


def test_every_part_gets_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = create_model("mtair_tiny")
    weights = save_checkpoint(network, tmp_path / "tiny.safetensors")
    words = [str(weights), str(_SAMPLES), "--limit", "1", "--crop", "64"]
    words += ["--units", "--with", "haze:heavy", "identity"]
    monkeypatch.setattr(sys, "argv", ["switch_off.py", *words])
    runpy.run_path(str(_SCRIPT), run_name="__main__")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    units = len(network.get_submodule("latent.blocks"))
    assert rows[0] == ["", "haze:heavy", "identity"]
    assert [row[0] for row in rows[2:5]] == ["whole", "without its latent", "B of its scans zero"]
    assert len(rows) == 5 + units
    assert np.array([row[1:] for row in rows[2:]], float).shape == (3 + units, 2)


@pytest.mark.parametrize("words", [["--include", "none*"], ["--with", "hail"]])
def test_what_cannot_be_is_one_line(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    given = ["switch_off.py", "cu_mamba_tiny", str(_SAMPLES), *words]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as error:
        runpy.run_path(str(_SCRIPT), run_name="__main__")
    assert "\n" not in str(error.value)
