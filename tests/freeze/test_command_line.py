"""The command keeps its options, its exit codes, and the fields of its JSON."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import unveil
from unveil.cli import app
from unveil.data import write_toy_set
from unveil.imaging import save_png

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_options_of_every_verb(frozen):
    root = typer.main.get_command(app._app)
    names = root.list_commands(None)
    frozen("options", {name: verb(root.get_command(None, name)) for name in names})


def verb(command: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"help": " ".join((command.help or "").split())}
    for parameter in command.params:
        options = " ".join([*parameter.opts, *parameter.secondary_opts])
        made[options] = {
            "help": getattr(parameter, "help", None),
            "flag": getattr(parameter, "is_flag", False),
            "range": [getattr(parameter, "min", None), getattr(parameter, "max", None)],
            "default": repr(parameter.default),
            "required": parameter.required,
            "many": parameter.nargs == -1 or parameter.multiple,
        }
    for name, sub in getattr(command, "commands", {}).items():
        made[name] = verb(sub)
    return made


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command in a folder with photographs; return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    write_toy_set(tmp_path / "toy", count=2, test_count=2, size=48)
    pixels = np.random.default_rng(0).integers(60, 200, (24, 32, 3), dtype=np.uint8)
    save_png(tmp_path / "photo.png", pixels)
    network = unveil.create_model("cu_mamba_tiny").eval()
    unveil.save_pretrained(network, tmp_path / "tiny")

    def call(*words):
        with pytest.raises(SystemExit) as stop:
            app.main([str(word) for word in words])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


RECIPE = """
model: {id: cu_mamba_tiny}
data: {train: [{clean: toy/train, task: noise}], workers: 0}
degradation: {noise: [{steps: "noise:sigma_255=25"}]}
optim: {lr: 1e-3, loss: charbonnier}
schedule: {steps: 2, phases: [{until: 1, patch: 16, batch: 2}]}
evaluation: {sets: [{clean: toy/test}], degradations: ["noise:sigma_255=25"], every_steps: 2}
"""

CALLS = {
    "restore": "restore photo.png --model tiny -o out --json",
    "inspect": "inspect photo.png --json",
    "degrade": "degrade photo.png -o out --with rain:light+jpeg:quality=40 --json",
    "degrade --list": "degrade --list --json",
    "data check": "data check toy/train --json",
    "evaluate": "evaluate tiny --data toy/test --protocol gaussian-color --sigma 25 --json",
    "compare": "compare tiny identity --data toy/test --protocol gaussian-color --sigma 25 --json",
    "models": "models --json",
    "doctor": "doctor --json",
    "bench scan": "bench scan --lengths 16 --channels 8 --states 2 --repeats 1 --json",
    "bench restore": "bench restore cu_mamba_tiny --sizes 0.01 --repeats 1 --json",
    "train": "train recipe.yaml out=run --json",
    "train --dry-run": "train recipe.yaml --dry-run --json",
}


def test_fields_of_every_json(run, frozen, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    found = {}
    for name, words in CALLS.items():
        code, out, err = run(*words.split())
        assert code == 0, err
        found[name] = fields(json.loads(out.splitlines()[0] if name == "degrade" else out))
    frozen("json", found)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    names = [path.relative_to(tmp_path / "run").as_posix() for path in files]
    frozen("run_files", sorted(map(hide_clock, names)))
    frozen("run_tables", {p: (tmp_path / "run" / p).read_text().split("\n")[0] for p in TABLES})
    frozen("run_recipe", (tmp_path / "run" / "recipe.yaml").read_text().split("\n"))


TABLES = ("train.csv", "validation.csv")


def hide_clock(path: str) -> str:
    return "tensorboard/EVENTS" if "events.out.tfevents" in path else path


# Of `unveil doctor`: whether a reason stands there depends on what is installed.
OF_THIS_MACHINE = ("backends", "kernel")


def fields(value: Any) -> Any:
    """Return a JSON value's structure: keys and kinds, lists by their first element."""
    if isinstance(value, dict):
        return {
            key: sorted(one) if key in OF_THIS_MACHINE else fields(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [fields(one) for one in value[:1]]
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else kind(value)
    )


def kind(value: Any) -> str:
    return {str: "text", bool: "truth", type(None): "null"}[type(value)]


FAILURES = {
    "no such file": "restore missing.png",
    "unknown option": "restore photo.png --colour",
    "unknown model": "restore photo.png --model cu_mamba_smal",
    "strength out of range": "restore photo.png --strength 2",
    "option without its value": "restore photo.png -o",
    "unknown degradation": "degrade photo.png -o out --with snow",
    "unknown protocol": "evaluate tiny --data toy/test --protocol gaussian",
    "unusable set": "data check tiny",
    "unknown recipe key": "train recipe.yaml optim.rate=1",
    "no verb of that name": "restor photo.png",
}


def test_exit_codes_and_messages(run, frozen, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    found = {}
    for name, words in FAILURES.items():
        code, out, err = run(*words.split())
        lines = [line for line in err.splitlines() if line.startswith("unveil: ")]
        found[name] = {"words": words, "code": code, "output": out, "error": lines}
    frozen("exit_codes", found)


def test_keys_of_a_recipe(run, frozen):
    code, out, _ = run("train", "--schema")
    assert code == 0
    frozen("recipe", without_prose(json.loads(out)))


def without_prose(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: without_prose(value)
            for key, value in node.items()
            if not (key in ("title", "description") and isinstance(value, str))
        }
    return [without_prose(one) for one in node] if isinstance(node, list) else node
