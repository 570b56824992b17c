"""The script measures gradients per part."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from unveil import create_model
from unveil.models.checkpoint import save_checkpoint
from unveil.training.losses import Loss

_SCRIPT = Path(__file__).parents[2] / "experiments/task_gradients.py"
_SAMPLES = Path(__file__).parents[2] / "examples" / "samples"


def test_the_parts_make_up_the_gradient() -> None:
    script = runpy.run_path(str(_SCRIPT))
    torch.manual_seed(0)
    network, loss = create_model("mtair_tiny"), Loss.parse("l1")
    given, clean = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    norms = script["gradient_norms"](network, loss, given, clean)
    assert set(norms) == {
        name for name, part in network.named_children() if list(part.parameters())
    }
    network.zero_grad()
    loss(network(given), clean).backward()
    whole = torch.nn.utils.get_total_norm([p.grad for p in network.parameters()])
    assert sum(norm**2 for norm in norms.values()) ** 0.5 == pytest.approx(whole.item(), rel=1e-4)


def test_every_degradation_gets_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    weights = save_checkpoint(create_model("mtair_tiny"), tmp_path / "tiny.safetensors")
    words = [str(weights), str(_SAMPLES), "--batches", "1", "--batch", "1"]
    words += ["--patch", "64", "--with", "haze:heavy", "noise:sigma_255=5"]
    monkeypatch.setattr(sys, "argv", ["task_gradients.py", *words])
    runpy.run_path(str(_SCRIPT), run_name="__main__")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows[2:]] == ["haze:heavy", "noise:sigma_255=5"]
    hazy, noisy = (dict(zip(rows[0][1:], map(float, row[1:]), strict=True)) for row in rows[2:])
    assert hazy["head"] > noisy["head"] > 0


@pytest.mark.parametrize("words", [["--with", "hail"], ["--loss", "l3"], ["--patch", "9000"]])
def test_what_cannot_be_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    weights = save_checkpoint(create_model("mtair_tiny"), tmp_path / "tiny.safetensors")
    given = ["task_gradients.py", str(weights), str(_SAMPLES), *words]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as error:
        runpy.run_path(str(_SCRIPT), run_name="__main__")
    assert "\n" not in str(error.value)
