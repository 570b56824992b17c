"""The script fits a linear probe from clean photographs and stores it with the weights."""

import runpy
import sys
from pathlib import Path

import pytest

from unveil import create_model
from unveil.inference.diagnosis import read_probe
from unveil.models.checkpoint import save_checkpoint

_SCRIPTS = Path(__file__).parents[2] / "experiments"
_SAMPLES = Path(__file__).parents[2] / "examples" / "samples"


def test_a_readout_is_fitted_and_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "tiny.safetensors"
    save_checkpoint(create_model("mtair_tiny"), weights)
    words = [
        weights,
        _SAMPLES,
        "--limit",
        4,
        "--held-out-crop",
        96,
        "--tried",
        1,
    ]
    monkeypatch.setattr(sys, "argv", ["fit_readout.py", *map(str, words)])
    runpy.run_path(str(_SCRIPTS / "fit_readout.py"), run_name="__main__")
    readout = read_probe(weights)
    assert readout is not None
    assert sum(map(sum, readout.confusion)) == 7 * 1  # a photograph in seven kinds
    assert set(readout.means) == {"noise", "rain", "haze"}
    assert set(readout.windows) <= {"rain", "haze"}
    assert "clean" in capsys.readouterr().out


def test_one_photograph_alone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = save_checkpoint(create_model("mtair_tiny"), tmp_path / "tiny.safetensors")
    sample = next((_SAMPLES).glob("*.png"), None) or next(
        path for path in (_SAMPLES).iterdir() if path.suffix in {".jpg", ".webp"}
    )
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / sample.name).write_bytes(sample.read_bytes())
    monkeypatch.setattr(sys, "argv", ["fit_readout.py", str(weights), str(folder)])
    with pytest.raises(SystemExit, match="no photographs to fit on"):
        runpy.run_path(str(_SCRIPTS / "fit_readout.py"), run_name="__main__")
