"""People extend the package: by decorators, and by entry points of packages they install.

Nothing is installed here: a folder on the path has what `pip` leaves of a package.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unveil
from unveil.cli.app import main
from unveil.data import write_toy_set
from unveil.degradations import CATALOGUE, Parameter, parse, register_degradation
from unveil.errors import CheckpointError, InputError
from unveil.metrics import metric_named, register_metric
from unveil.metrics.registry import METRICS
from unveil.models.base import ModelConfig, RestorationModel
from unveil.models.registry import _RECORDS
from unveil.training.recipe_file import parse_recipe

_MODULE = '''
import numpy as np
import torch
from torch import nn
from unveil import register_degradation, register_metric, register_model
from unveil.degradations import Parameter
from unveil.models.base import ModelConfig, RestorationModel


class ShiftConfig(ModelConfig):
    by: float = 0.25


@register_model("shifter", config=ShiftConfig(), tasks=("denoise",), paper="none")
@register_model("shifter_far", config=ShiftConfig(by=0.5), tasks=("denoise",))
class Shifter(RestorationModel):
    size_multiple = 2

    def __init__(self, config):
        super().__init__(config)
        self.by = nn.Parameter(torch.tensor(config.by))

    def encode(self, degraded, context):
        return degraded.permute(0, 2, 3, 1), []

    def refine_latent(self, features, context):
        return features

    def decode(self, latent, skips, context):
        return torch.zeros_like(latent).permute(0, 3, 1, 2) - self.by


@register_degradation("stripes", parameters=(Parameter("level", 0.1, 0, 1, "height"),))
def stripes(image, rng, level):
    """Dark rows."""
    out = image.copy()
    out[::2] -= np.float32(level)
    return out


@register_metric("mae", higher_is_better=False, about="mean absolute error", digits=3)
def mae(restored, clean):
    assert restored.dtype == np.float32 and restored.max() <= 1
    return np.abs(restored - clean).mean()
'''
_POINTS = """
[unveil.models]
shifter = my_plugin:Shifter
shifter_far = my_plugin:Shifter
missing = my_plugin:Nothing
broken = broken_plugin:RECORD
other = my_plugin:stripes

[unveil.degradations]
stripes = my_plugin:stripes

[unveil.metrics]
mae = my_plugin:mae
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    site = tmp_path / "site"
    info = site / "my_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "my_plugin.py").write_text(_MODULE)
    (site / "broken_plugin.py").write_text("raise RuntimeError('no\\nluck')")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(_POINTS)
    monkeypatch.syspath_prepend(str(site))
    registries = (_RECORDS, CATALOGUE, METRICS)
    for registry in registries:
        registry.refresh()
    yield
    for registry in registries:
        for name in ("shifter", "shifter_far", "stripes", "mae"):
            registry.unregister(name)
    sys.modules.pop("my_plugin", None)
    monkeypatch.undo()
    for registry in registries:
        registry.refresh()


@pytest.mark.usefixtures("plugin")
def test_names_are_listed_and_nothing_is_imported() -> None:
    assert {"shifter", "broken"} < set(unveil.list_models())
    assert "stripes" in list(CATALOGUE)
    assert list(METRICS) == ["mae"]
    assert "my_plugin" not in sys.modules


@pytest.mark.usefixtures("plugin")
def test_a_network_of_a_plug_in_is_one_of_ours(tmp_path: Path) -> None:
    network = unveil.create_model("shifter_far")
    assert network.by.item() == 0.5
    unveil.save_pretrained(unveil.create_model("shifter", by=0.125), tmp_path / "saved")
    again = unveil.from_pretrained(tmp_path / "saved")
    assert (again.model_id, again.by.item()) == ("shifter", 0.125)
    image = np.full((9, 7, 3), 0.75, np.float32)
    np.testing.assert_allclose(unveil.restore(image, tmp_path / "saved"), 0.625, atol=1e-6)
    with pytest.raises(InputError, match="by: Input should be a valid number"):
        unveil.create_model("shifter", by="far")
    with pytest.raises(CheckpointError, match="no weights are bundled for 'shifter'"):
        unveil.create_model("shifter", pretrained=True)


@pytest.mark.usefixtures("plugin")
def test_a_degradation_of_a_plug_in_is_parsed_and_trained_on() -> None:
    image = np.ones((4, 4, 3), np.float32)
    degraded = parse("stripes:level=0.5")(image, np.random.default_rng(0))
    assert degraded[::2].max() == 0.5
    with pytest.raises(InputError, match="level=2 in"):
        parse("stripes:level=2")
    recipe = parse_recipe(
        "{model: {id: shifter}, data: {train: [{clean: x, task: a}]}, optim: {lr: 1, loss: l1},"
        "degradation: {a: [{steps: 'stripes:level=0..1'}]}, schedule: {steps: 1, phases:"
        "[{until: 1, patch: 8, batch: 1}]}, evaluation: {sets: [{clean: x}], degradations: [a],"
        "every: 1m}}"
    )
    assert recipe.degradation["a"][0].steps == "stripes:level=0..1"


@pytest.mark.usefixtures("plugin")
def test_a_metric_of_a_plug_in_is_reported_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toy_set(tmp_path / "set", count=6, test_count=0, size=32)
    shifter = unveil.save_pretrained(unveil.create_model("shifter"), tmp_path / "w")
    for name, model in (("a", "identity"), ("b", str(shifter))):
        words = ["evaluate", model, "--data", str(tmp_path / "set" / "train"), "--protocol",
                 "gaussian-color", "--sigma", "15", "--metric", "mae"]  # fmt: skip
        assert _run([*words, "-o", str(tmp_path / name)]) == 0
    text = capsys.readouterr().out
    assert "| mae ↓  | degraded input |" in text
    assert "- mae: mean absolute error" in text
    report = json.loads((tmp_path / "b" / "results.json").read_text())
    assert report["metrics"]["mae"]["higher_is_better"] is False
    assert report["cases"][0]["mean"]["mae"] == pytest.approx(0.25, abs=0.06)
    assert "<h2>Metrics</h2>" in (tmp_path / "b" / "report.html").read_text()
    # The result is read without the plug-in.
    METRICS.unregister("mae")
    assert _run(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == 0
    (found,) = (
        difference
        for difference in json.loads(capsys.readouterr().out)["differences"]
        if difference["metric"] == "mae"
    )
    assert (found["a_better"], found["significant"]) == (1.0, True)
    assert found["mean"] < 0


def _run(words: list[str]) -> Any:
    with pytest.raises(SystemExit) as stop:
        main(words)
    return stop.value.code


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", r"of the package my-plugin cannot be loaded \(RuntimeError: no luck\)"),
        ("missing", "cannot be loaded .AttributeError"),
        ("other", "is no ModelRecord of that name"),
        ("none", "no model 'none'"),
    ],
)
def test_a_plug_in_that_fails_is_named(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        unveil.create_model(name)
    assert "\n" not in str(refused.value)
    assert unveil.create_model("cu_mamba_tiny").model_id == "cu_mamba_tiny"


def test_names_that_are_taken_or_impossible_are_refused() -> None:
    config = ModelConfig()

    def build(config: ModelConfig) -> RestorationModel:
        return RestorationModel(config)

    for model_id in ("cu_mamba_small", "a/b", "", "../x"):
        with pytest.raises(InputError):
            unveil.register_model(model_id, config=config, tasks=("denoise",), replace=True)(build)
    with pytest.raises(InputError, match="already"):
        register_degradation("noise", replace=True)(lambda image, _rng: image)
    with pytest.raises(InputError, match="no name for a degradation"):
        register_degradation("a+b")
    with pytest.raises(InputError, match="already"):
        register_metric("psnr")
    with pytest.raises(InputError, match="no metric 'lpips'; there are: none registered"):
        metric_named("lpips")


def test_a_cell_that_runs_twice_may_replace_its_own() -> None:
    first = register_degradation("again", parameters=(Parameter("x", 0, 0, 1, "nothing"),))
    first(lambda image, _rng, x: image + x)
    with pytest.raises(InputError, match="choose another name"):
        register_degradation("again")(lambda image, _rng: image)
    register_degradation("again", replace=True)(lambda image, _rng: image * 0)
    assert parse("again")(np.ones((1, 1, 3), np.float32), np.random.default_rng(0)).max() == 0
    CATALOGUE.unregister("again")


def test_a_metric_that_gives_no_number_is_told() -> None:
    for value in (None, float("nan"), torch.zeros(2), "a"):
        register_metric("odd", replace=True)(lambda _a, _b, value=value: value)
        with pytest.raises(InputError, match=r"the metric odd gives .*, which is no number"):
            METRICS["odd"](np.zeros((1, 1, 3)), np.zeros((1, 1, 3)))
    METRICS.unregister("odd")
