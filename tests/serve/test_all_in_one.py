"""A network that tells what it sees and is steered to a task, as the command line has it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.serve.conftest import Served, photo, serving

import unveil
from unveil.cli import app as cli
from unveil.inference.readout import CAUSES, fit_readout, mixer_names, store_readout
from unveil.layers.context import Context
from unveil.models.base import RestorationModel
from unveil.models.checkpoint import load_checkpoint, save_checkpoint
from unveil.serve.engine import Engine, Options
from unveil.serve.settings import Settings


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An all-in-one network with a made-up read-out that tells pictures apart."""
    torch.manual_seed(0)
    network = unveil.create_model("mtair_tiny")
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    path = save_checkpoint(network, tmp_path_factory.mktemp("mtair") / "all.safetensors")
    network = load_checkpoint(path)
    store_readout(path, fit_readout(network, list(_pictures(network))))
    return path


def _pictures(network: RestorationModel) -> Iterator[tuple[Context, frozenset[str], float]]:
    """Make up what is seen in pictures: prompt weights that depend on what is wrong."""
    names = mixer_names(network)
    base = network.describe(torch.rand(1, 3, 64, 64))
    for i in range(24):
        found = frozenset({CAUSES[i % 4]}) if i % 4 < 3 else frozenset()
        told = {
            name: torch.randn_like(base.statistics[name])
            .mul(0.1)
            .index_add(1, torch.tensor([i % 2]), torch.tensor([[3.0 * (i % 4 - 1)]]))
            for name in names
        }
        yield Context({**base.statistics, **told}), found, 25.0 * ("noise" in found)


@pytest.fixture(scope="module")
def server(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    settings = Settings(models=(weights,), threads=1)
    with serving(Engine(settings, folder=tmp_path_factory.mktemp("served"))) as found:
        yield found


def test_its_tasks_are_offered(server: Served) -> None:
    found = server.client.get("/v1/models").json()
    assert found["tasks"] == ["auto", "denoise", "derain", "dehaze", "deblur"]
    assert (found["models"][0]["id"], found["models"][0]["inspects"]) == ("all", True)
    document = server.client.get("/openapi.json").json()
    assert (
        document["components"]["schemas"]["RestoreForm"]["properties"]["task"]["enum"]
        == (found["tasks"])
    )


def test_inspect_answers_what_the_command_prints(
    server: Served, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(photo((90, 70)))
    with pytest.raises(SystemExit):
        cli.main(["inspect", str(source), "--model", str(weights), "--json"])
    expected = json.loads(capsys.readouterr().out)["results"][0]
    del expected["source"]
    answer = server.client.post("/v1/inspect", files={"image": source.read_bytes()})
    assert answer.json() == expected


def test_each_task_is_steered_as_by_the_command(
    server: Served, weights: Path, tmp_path: Path
) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(photo((90, 70)))
    results = []
    for task in ("auto", "derain", "dehaze"):
        target = tmp_path / f"{task}.png"
        # As many threads as the server: sums in another order may round to another level.
        words = ["restore", source, "-o", target, "--model", weights, "--task", task]
        with pytest.raises(SystemExit):
            cli.main([*map(str, words), "--threads", "1"])
        files = {"image": ("a.png", source.read_bytes())}
        answer = server.client.post("/v1/restore", files=files, data={"task": task})
        assert answer.headers["x-unveil-task"] == task
        assert answer.content == target.read_bytes()
        results.append(answer.content)
    assert len(set(results)) == 3


def test_what_it_sees_comes_with_a_result_when_asked_for(server: Served) -> None:
    engine = server.engine
    source = engine.receive("a.png", photo((90, 70)))
    assert engine.submit(source, Options(), look=False).wait(20).report is None
    report = engine.submit(source, Options()).wait(20).report
    assert report is not None
    assert report == engine.inspect(source)
    engine.discard(source)
