"""A client that is generated from the OpenAPI document talks to the server."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tests.serve.conftest import MODEL, Served, photo

_GENERATOR = "openapi-python-client==0.29.1"
pytestmark = pytest.mark.slow


def _run(*words: str, **options: Any) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def client(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    environment = tmp_path / "venv"
    python = str(environment / "bin" / "python")
    _run(sys.executable, "-m", "venv", str(environment))
    install = [python, "-m", "pip", "install", "--quiet", _GENERATOR]
    if subprocess.run(install, check=False).returncode:
        pytest.skip("the generator cannot be installed here")
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(served.client.get("/openapi.json").json()))
    config = tmp_path / "config.yml"
    config.write_text("post_hooks: []\n")
    _run(
        str(environment / "bin" / "openapi-python-client"), "generate", "--path", str(document),
        "--config", str(config), "--meta", "none", "--output-path", str(tmp_path / "made_client"),
    )  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    pytest.importorskip("attrs")
    with importlib.import_module("made_client.client").Client(base_url=served.url) as made:
        yield made


def test_it_lists_models_restores_and_runs_a_job(client: Any) -> None:
    def call(path: str) -> Any:
        return importlib.import_module(f"made_client.{path}")

    found = call("api.api.models_v1_models_get").sync(client=client)
    assert found.models[0].id == MODEL
    file = call("types").File(payload=BytesIO(photo()), file_name="a.png", mime_type="image/png")
    form = call("models.job_form").JobForm(image=[file])
    job = call("api.jobs.create_v1_jobs_post").sync(client=client, body=form)
    assert [image.name for image in job.images] == ["a.png"]
    shown = call("api.jobs.show_v1_jobs_job_get").sync(job.id, client=client)
    assert shown.id == job.id
    gone = call("api.jobs.remove_v1_jobs_job_delete").sync_detailed(job.id, client=client)
    assert gone.status_code == 204
