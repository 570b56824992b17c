"""The example runs on its samples and on one's own photos."""

import runpy
import sys
from pathlib import Path

import pytest

_EXAMPLE = Path(__file__).parents[2] / "examples" / "restore_photos.py"


def _run(monkeypatch: pytest.MonkeyPatch, *words: object) -> object:
    monkeypatch.setattr(sys, "argv", [str(_EXAMPLE), *map(str, words), "--model", "identity"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(_EXAMPLE), run_name="__main__")
    return stop.value.code


def test_samples_are_degraded_restored_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "--output", tmp_path) == 0
    out = capsys.readouterr().out
    assert "26.42 dB 26.42 dB" in out
    assert len(list(tmp_path.glob("*.before-after-truth.png"))) == 4


def test_own_photos_are_restored_and_bad_ones_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = _EXAMPLE.parent / "samples" / "rocket.jpg"
    assert _run(monkeypatch, photo, tmp_path / "none.png", "--output", tmp_path) == 1
    assert "none.png: cannot be read" in capsys.readouterr().out
    assert (tmp_path / "rocket.restored.jpg").exists()
    assert (tmp_path / "rocket.restored.jpg.compare.png").exists()


def test_a_model_is_only_asked_for_what_it_does() -> None:
    tasks_of = runpy.run_path(str(_EXAMPLE))["tasks_of"]
    assert tasks_of("cu_mamba_small") == ("denoise",)
    assert "derain" in tasks_of("mtair_small")
    assert "dehaze" in tasks_of("somebody's weights")
