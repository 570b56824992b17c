"""The linear probe finds what prompt weights tell, is stored with the weights, and steers tasks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors import safe_open

from unveil import create_model
from unveil.cli import app
from unveil.errors import CheckpointError, InputError
from unveil.imaging import read_image
from unveil.inference import Restorer
from unveil.inference.conditioning import probe_of
from unveil.inference.diagnosis import (
    DEGRADATIONS,
    estimate_degradation,
    features,
    fit_probe,
    mixer_names,
    read_probe,
    store_probe,
)
from unveil.inference.inspect import inspect_image
from unveil.layers.statistics import GlobalStatistics
from unveil.models.checkpoint import from_pretrained, save_checkpoint

_Seen = tuple[GlobalStatistics, frozenset[str], float]


def _seen(base: GlobalStatistics, names: list[str], number: int, seed: int) -> list[_Seen]:
    """Make contexts whose prompt weights depend on what is in the picture, with some noise."""
    sizes = [base.statistics[name].shape[1] for name in names]
    rng = torch.Generator().manual_seed(seed)
    directions = torch.randn(4, sum(sizes), generator=torch.Generator().manual_seed(99))
    out: list[_Seen] = []
    for i in range(number):
        causes = [
            frozenset(),
            *(frozenset({c}) for c in DEGRADATIONS),
            frozenset({"noise", "rain"}),
        ]
        found = causes[i % 5]
        sigma = 55 * float(torch.rand((), generator=rng)) if "noise" in found else 0.0
        x = 0.1 * torch.randn(sum(sizes), generator=rng)
        for k, cause in enumerate(DEGRADATIONS):
            strength = 1 + sigma / 30 if cause == "noise" else 1.5
            x = x + directions[k] * strength * (cause in found)
        parts = x.split(sizes)
        told = {n: p[None] for n, p in zip(names, parts, strict=True)}
        context = GlobalStatistics({**base.statistics, **told})
        out.append((context, found, sigma))
    return out


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[_Seen]]:
    model = create_model("mtair_tiny").eval()
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(model, path)
    names = mixer_names(model)
    base = model.collect_statistics(torch.rand(1, 3, 64, 64))
    held_out = _seen(base, names, 100, 2)
    probe = fit_probe(model, _seen(base, names, 300, 1), held_out=held_out)
    store_probe(path, probe)
    return path, held_out


def test_what_was_fitted_is_recognised(fitted: tuple[Path, list[_Seen]]) -> None:
    path, held_out = fitted
    probe = read_probe(path)
    assert probe is not None
    model = from_pretrained(path)
    right, errors = 0, []
    for context, causes, sigma in held_out:
        seen = estimate_degradation(probe, model, context)
        right += set(seen.verdict) == (set(causes) or {"clean"})
        if "noise" in causes:
            errors.append(abs(seen.sigma_255 - sigma))
        assert all(0 <= chance <= 1 for chance in seen.probabilities.values())
    assert right >= 90
    assert np.median(errors) < 8
    table = np.array(probe.confusion)
    assert table.sum() == 80
    assert np.trace(table) >= 72


def test_features_tell_more_than_the_prompt_weights() -> None:
    model = create_model("mtair_tiny").eval()
    dark, bright = (model.collect_statistics(torch.full((1, 3, 64, 64), v)) for v in (0.1, 0.9))
    one, two = features(model, dark), features(model, bright)
    assert len(one) > sum(dark.statistics[name].shape[1] for name in mixer_names(model))
    assert np.isfinite(one).all()
    assert not np.allclose(one, two)


def test_storing_keeps_weights_and_configuration(
    fitted: tuple[Path, list[_Seen]], tmp_path: Path
) -> None:
    path, _ = fitted
    copy = tmp_path / "copy.safetensors"
    save_checkpoint(from_pretrained(path), copy)
    assert read_probe(copy) is None
    store_probe(copy, read_probe(path))
    assert read_probe(copy) == read_probe(path)
    one, two = from_pretrained(path).state_dict(), from_pretrained(copy).state_dict()
    assert all(one[name].equal(two[name]) for name in one)


def test_a_task_sets_the_prompt_weights(fitted: tuple[Path, list[_Seen]]) -> None:
    path, _ = fitted
    restorer = Restorer(path, task="derain")
    means = read_probe(path).means["rain"]
    for name, given in restorer.engine.conditioning.items():
        np.testing.assert_allclose(given[0].numpy(), means.pop(name), rtol=1e-6)
    assert not means
    x = torch.rand(3, 40, 40)
    other = Restorer(path, task="dehaze")(x)
    assert not restorer(x).equal(other)
    assert not Restorer(path)(x).equal(other)


def test_weights_are_opened_once_for_a_restorer_and_what_describes_it(
    fitted: tuple[Path, list[_Seen]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def counted(path: Path, **options: str) -> object:
        opened.append(path)
        return safe_open(path, **options)

    monkeypatch.setattr("unveil.models.weights_file.safe_open", counted)
    restorer = Restorer(fitted[0], task="derain")
    probe_of(restorer.loaded)
    assert opened == [fitted[0]]
    Restorer("cu_mamba_small", task="denoise")
    assert len(opened) == 2


def test_a_task_is_steered_by_what_was_found_to_help(
    fitted: tuple[Path, list[_Seen]], tmp_path: Path
) -> None:
    path, _ = fitted
    copy = tmp_path / "copy.safetensors"
    save_checkpoint(from_pretrained(path), copy)
    probe = replace(read_probe(path), windows={"haze": 48}, by_prompts=("rain",))
    store_probe(copy, probe)
    assert read_probe(copy) == probe
    engines = {task: Restorer(copy, task=task).engine for task in ("auto", "derain", "dehaze")}
    assert {task: engine.tiling.window for task, engine in engines.items()} == {
        "auto": None, "derain": None, "dehaze": 48,
    }  # fmt: skip
    assert [task for task, engine in engines.items() if engine.conditioning] == ["derain"]
    x = torch.rand(3, 80, 80)
    assert not Restorer(copy, task="dehaze")(x).equal(Restorer(copy)(x))


def test_a_model_without_prompts_does_only_its_tasks(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(create_model("cu_mamba_tiny"), path)
    Restorer(path, task="denoise")
    with pytest.raises(InputError, match="does not dehaze; it does"):
        Restorer(path, task="dehaze")


def test_weights_without_a_readout_say_so(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(create_model("mtair_tiny"), path)
    with pytest.raises(CheckpointError, match="hold no linear probe"):
        Restorer(path, task="derain")
    PIL.Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    with pytest.raises(CheckpointError, match="hold no linear probe"):
        inspect_image(Restorer(path), read_image(tmp_path / "a.png"))


def test_inspect_prints_what_is_seen(
    fitted: tuple[Path, list[_Seen]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = fitted
    pixels = np.random.default_rng(0).integers(0, 255, (70, 50), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    words = ["inspect", str(tmp_path / "a.png"), str(tmp_path / "none.png"), "--model", str(path)]
    with pytest.raises(SystemExit) as stop:
        app.main([*words, "--json"])
    assert stop.value.code == 1
    captured = capsys.readouterr()
    (entry,) = json.loads(captured.out)["results"]
    assert set(entry["probabilities"]) == set(DEGRADATIONS)
    assert set(entry["verdict"]) <= {*DEGRADATIONS, "clean"}
    assert "none.png" in captured.err
    with pytest.raises(SystemExit):
        app.main(words)
    assert "a.png: " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        app.main(["inspect", str(tmp_path), "--model", str(path)])
    assert f"{tmp_path / 'a.png'}: " in capsys.readouterr().out
    (tmp_path / "@eaDir").mkdir()
    PIL.Image.fromarray(pixels).save(tmp_path / "@eaDir" / "a.png")
    with pytest.raises(SystemExit) as stop:
        app.main(["inspect", "--recursive", str(tmp_path), "--model", str(path)])
    captured = capsys.readouterr()
    assert stop.value.code in (None, 0)
    assert captured.out.count("a.png: ") == 1
    assert "left out 1 folder of thumbnails, trash and the like: @eaDir" in captured.err


def test_fitting_needs_statistics_and_every_cause() -> None:
    with pytest.raises(InputError, match="gathers no statistics"):
        fit_probe(torch.nn.Identity(), [(GlobalStatistics({}), frozenset(), 0.0)])
    model = create_model("mtair_tiny")
    names = mixer_names(model)
    contexts = GlobalStatistics({name: torch.zeros(1, 2) for name in names})
    with pytest.raises(InputError, match="no image with noise, rain, haze"):
        fit_probe(model, [(contexts, frozenset(), 0.0)])
