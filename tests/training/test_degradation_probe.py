"""The last step of a training: the degradation estimate of what it trained."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unveil import create_model
from unveil.data import Pair, list_images
from unveil.inference.diagnosis import read_probe
from unveil.models.checkpoint import save_pretrained
from unveil.training import degradation_probe
from unveil.training.degradation_probe import fit_all

_SAMPLES = Path(__file__).parents[2] / "examples" / "samples"


def _session(model: str, tasks: tuple[str, ...]) -> Any:
    files = list_images(_SAMPLES)
    pairs = [Pair(path, None, path.name) for path in files]
    return SimpleNamespace(
        network=create_model(model),
        recipe=SimpleNamespace(
            data=SimpleNamespace(train=[SimpleNamespace(task=task) for task in tasks])
        ),
        dataset=SimpleNamespace(sources=[SimpleNamespace(pairs=pairs)]),
    )


_ALL = ("denoise", "derain", "dehaze")


def test_weights_without_an_estimate_get_one(tmp_path, monkeypatch) -> None:
    for name, value in (("_FEWEST_PHOTOGRAPHS", 2), ("MOST_PHOTOGRAPHS", 3), ("_MOST_TRIED", 1)):
        monkeypatch.setattr(degradation_probe, name, value)
    session = _session("mtair_tiny", _ALL)
    weights = save_pretrained(session.network, tmp_path) / "model.safetensors"
    fit_all(session, tmp_path)
    probe = read_probe(weights)
    assert probe is not None
    assert set(probe.means) == {"noise", "rain", "haze"}
    written = weights.stat().st_mtime_ns
    fit_all(session, tmp_path)
    assert weights.stat().st_mtime_ns == written


@pytest.mark.parametrize(("model", "tasks"), [("mtair_tiny", ("derain",)), ("cu_mamba_tiny", _ALL)])
def test_other_trainings_have_none(tmp_path, model: str, tasks: tuple[str, ...]) -> None:
    session = _session(model, tasks)
    weights = save_pretrained(session.network, tmp_path) / "model.safetensors"
    fit_all(session, tmp_path)
    assert read_probe(weights) is None


def test_too_few_photographs_are_logged(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(degradation_probe, "_FEWEST_PHOTOGRAPHS", 10_000)
    session = _session("mtair_tiny", _ALL)
    save_pretrained(session.network, tmp_path)
    with caplog.at_level(logging.WARNING):
        fit_all(session, tmp_path)
    assert "too few for a degradation estimate" in caplog.text
