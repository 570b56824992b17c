"""A network that tells what it sees and is steered to a task, as the command line has it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serve.conftest import Served, photo, serving

from unveil.cli import app as cli
from unveil.serve.engine import Engine
from unveil.serve.settings import Settings


@pytest.fixture(scope="module")
def server(all_in_one_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    settings = Settings(models=(all_in_one_weights,), threads=1)
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
    server: Served, all_in_one_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(photo((90, 70)))
    with pytest.raises(SystemExit):
        cli.main(["inspect", str(source), "--model", str(all_in_one_weights), "--json"])
    expected = json.loads(capsys.readouterr().out)["results"][0]
    del expected["source"]
    answer = server.client.post("/v1/inspect", files={"image": source.read_bytes()})
    assert answer.json() == expected


def test_each_task_is_steered_as_by_the_command(
    server: Served, all_in_one_weights: Path, tmp_path: Path
) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(photo((90, 70)))
    results = []
    for task in ("auto", "derain", "dehaze"):
        target = tmp_path / f"{task}.png"
        # As many threads as the server: sums in another order may round to another level.
        words = ["restore", source, "-o", target, "--model", all_in_one_weights, "--task", task]
        with pytest.raises(SystemExit):
            cli.main([*map(str, words), "--threads", "1"])
        files = {"image": ("a.png", source.read_bytes())}
        answer = server.client.post("/v1/restore", files=files, data={"task": task})
        assert answer.headers["x-unveil-task"] == task
        assert answer.content == target.read_bytes()
        results.append(answer.content)
    assert len(set(results)) == 3
