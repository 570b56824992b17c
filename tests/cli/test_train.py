"""`unveil train`: recipe in, folder out, one line per mistake."""

import json
import sys

import pytest

from unveil.cli.app import main
from unveil.data import write_toy_set

RECIPE = """
model: {{id: cu_mamba_tiny}}
data: {{train: [{{clean: "{folder}/train", task: noise}}], workers: 0}}
degradation: {{noise: [{{steps: "noise:sigma_255=25"}}]}}
optim: {{lr: 1e-3, loss: l1}}
schedule: {{steps: 3, phases: [{{until: 1.0, patch: 16, batch: 2}}]}}
evaluation:
  sets: [{{clean: "{folder}/test"}}]
  degradations: ["noise:sigma_255=25"]
  every_steps: 2
  images: 1
  crop: 32
"""


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(["train", *map(str, words)])
    return end.value.code


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    write_toy_set(folder, count=2, test_count=1, size=48)
    path = folder / "toy.yaml"
    path.write_text(RECIPE.format(folder=folder))
    return path


def test_a_recipe_becomes_a_folder_with_weights(recipe, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(recipe, f"out={out}", "steps=2", "--accelerator", "cpu", "--json") in (0, None)
    result = json.loads(capsys.readouterr().out)
    assert (result["step"], result["steps"], result["finished"]) == (2, 2, True)
    assert (out / "model.safetensors").exists()
    assert (out / "recipe.yaml").exists()


def test_a_run_is_resumed_by_its_folder(recipe, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(recipe, f"out={out}") in (0, None)
    assert run(out, "--resume") in (0, None)
    assert "finished 3 steps" in capsys.readouterr().out


def test_the_folder_is_named_after_the_recipe(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(recipe, "schedule.steps=1") in (0, None)
    assert (tmp_path / "runs" / "toy" / "model.safetensors").exists()


def test_a_dry_run_reports_and_keeps_nothing(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(recipe, "--dry-run", "--json") in (0, None)
    report = json.loads(capsys.readouterr().out)
    assert report["parameters"] > 1000
    assert report["photographs"] == 2
    assert report["steps"] == 3
    assert len(report["losses"]) == 2
    assert report["seconds"] == pytest.approx(3 * report["step_seconds"][0])
    assert report["memory_bytes"] > 50_000_000
    assert not list(tmp_path.iterdir())
    assert run(recipe, "--dry-run") in (0, None)
    text = capsys.readouterr().out
    for word in ("lr: 0.001", "parameters", "memory", "two steps"):
        assert word in text


def test_the_schema_is_printed(capsys):
    assert run("--schema") in (0, None)
    assert "schedule" in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optim.lrr=1"], "did you mean 'lr'"),
        (["model.id=cu_mamba_tinny"], "did you mean 'cu_mamba_tiny'"),
        (["data.train.0.clean=/nowhere"], "no such folder"),
        (["schedule.phases.0.patch=400"], "too small"),
        (["degradation.noise.0.steps=nois"], "did you mean 'noise'"),
        (["--accelerator", "abacus"], "expected auto, cpu or gpu"),
        (["optim"], "key=value"),
        (["stepss=3"], "did you mean 'steps'"),
        (["evaluation.every=5"], "lacks its unit, as in 90m; a number of steps is every_steps"),
        (["--resume"], "no checkpoint"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(recipe, tmp_path, capsys, words, message):
    assert run(recipe, f"out={tmp_path / 'run'}", *words) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("unveil: ")
    assert message in error
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_resumed_is_named(tmp_path, capsys):
    assert run(tmp_path / "none", "--resume") == 1
    assert f"{tmp_path / 'none'}: no such file or folder" in capsys.readouterr().err
    assert run(tmp_path, "--resume") == 1
    assert "holds no recipe.yaml" in capsys.readouterr().err


def test_no_recipe_is_wrong_usage():
    assert run() == 2


def test_without_lightning_the_extra_is_named(recipe, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    assert run(recipe) == 1
    assert 'pip install "unveil[train]"' in capsys.readouterr().err
