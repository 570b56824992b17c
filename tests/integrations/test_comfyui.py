"""The nodes against a stub of ComfyUI's API, and against ComfyUI itself where a path is given."""

import asyncio
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from unveil import Restorer
from unveil.imaging import load_rgb, save_png

FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"


class _StoppedError(Exception):
    pass


class _Part:
    """Any input or output of the stub, with what it was made of."""

    def __init__(self, *names, **options):
        self.names, self.options = names, options


class _Bar:
    made: ClassVar[list] = []

    def __init__(self, total):
        self.total, self.values = total, []
        _Bar.made.append(self)

    def update_absolute(self, value):
        self.values.append(value)


@pytest.fixture
def nodes(monkeypatch):
    kind = types.SimpleNamespace(Input=_Part, Output=_Part)
    names = ("Image", "Combo", "String", "Float")
    io = types.SimpleNamespace(
        ComfyNode=object, Schema=types.SimpleNamespace,
        NodeOutput=lambda *values: values, Custom=lambda _: kind, **dict.fromkeys(names, kind),
    )  # fmt: skip
    latest = types.ModuleType("comfy_api.latest")
    latest.ComfyExtension, latest.io = object, io
    management = types.ModuleType("comfy.model_management")
    management.throw_exception_if_processing_interrupted = lambda: None
    utils = types.ModuleType("comfy.utils")
    utils.ProgressBar = _Bar
    comfy = types.ModuleType("comfy")
    comfy.model_management, comfy.utils = management, utils
    stubs = {
        "comfy": comfy, "comfy.model_management": management, "comfy.utils": utils,
        "comfy_api": types.ModuleType("comfy_api"), "comfy_api.latest": latest,
    }  # fmt: skip
    for name, module in stubs.items():
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("unveil_comfyui", FOLDER / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.management = management
    return module


def _schemas(nodes):
    extension = asyncio.run(nodes.comfy_entrypoint())
    return {node.define_schema().node_id: node for node in asyncio.run(extension.get_node_list())}


def test_a_batch_with_alpha_is_restored_as_by_the_restorer(nodes):
    (network,) = nodes.LoadNetwork.execute("cu_mamba_small", "denoise", "")
    image = torch.rand(2, 24, 32, 4)
    (restored,) = nodes.RestoreImages.execute(image, network, 0.5)
    assert torch.equal(restored[..., 3], image[..., 3])
    for before, after in zip(image, restored, strict=True):
        expected = Restorer("cu_mamba_small", strength=0.5)(before[..., :3].numpy().copy())
        np.testing.assert_allclose(after[..., :3], np.clip(expected, 0, 1), atol=1e-6)
    bar = _Bar.made[-1]
    assert bar.values == sorted(bar.values)
    assert bar.values[-1] == bar.total


def test_work_stops_when_it_is_cancelled(nodes):
    def stop():
        raise _StoppedError

    nodes.management.throw_exception_if_processing_interrupted = stop
    with pytest.raises(_StoppedError):
        nodes.RestoreImages.execute(torch.rand(1, 16, 16, 3), Restorer("identity"), 1.0)


def test_an_image_is_described(nodes):
    (network,) = nodes.LoadNetwork.execute("mtair_small", "auto", "")
    (text,) = nodes.DescribeImage.execute(torch.rand(1, 64, 64, 3), network)
    assert "noise" in text
    assert "%" in text


def test_the_example_workflow_fits_the_nodes(nodes):
    schemas = {name: node.define_schema() for name, node in _schemas(nodes).items()}
    workflow = json.loads((FOLDER / "example_workflows" / "restore.json").read_text())
    used = [node for node in workflow["nodes"] if node["type"].startswith("Unveil")]
    assert len(used) == 2
    for node in used:
        inputs = schemas[node["type"]].inputs
        assert len(node["inputs"]) + len(node["widgets_values"]) == len(inputs)


@pytest.fixture
def comfyui(tmp_path):
    """A running ComfyUI with the nodes and one noisy image: its address, and its folder."""
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        pytest.skip("COMFYUI_PATH names no ComfyUI")
    shutil.copytree(FOLDER, tmp_path / "custom_nodes" / "unveil")
    (tmp_path / "input").mkdir()
    noisy = (np.random.default_rng(0).random((48, 64, 3)) * 60 + 90).astype(np.uint8)
    save_png(tmp_path / "input" / "example.png", noisy)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = [os.environ.get("COMFYUI_PYTHON", sys.executable), "main.py", "--cpu"]
    words += ["--base-directory", str(tmp_path), "--database-url", "sqlite:///:memory:"]
    words += ["--listen", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(words, cwd=path, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}", tmp_path, noisy
    finally:
        server.kill()
        server.wait()


def _ask(address, body=None, seconds=180):
    """Return the answer of a server, which may have to start first."""
    data = None if body is None else json.dumps(body).encode()
    for _ in range(seconds):
        try:
            with urllib.request.urlopen(address, data, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        except OSError:
            time.sleep(1)
    raise AssertionError(f"no answer from {address} in {seconds} s")


def _as_prompt(workflow, kinds):
    """Return a workflow of the page in the form that the server runs."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        linked = {entry["name"]: links[entry["link"]] for entry in node["inputs"]}
        names = kinds[node["type"]]["input_order"]["required"]
        free = [name for name in names if name not in linked]
        inputs = linked | dict(zip(free, node["widgets_values"], strict=False))
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


@pytest.mark.slow
def test_the_example_workflow_runs_in_comfyui(comfyui):
    address, folder, noisy = comfyui
    workflow = json.loads((FOLDER / "example_workflows" / "restore.json").read_text())
    kinds = _ask(f"{address}/object_info")
    queued = _ask(f"{address}/prompt", {"prompt": _as_prompt(workflow, kinds)})
    for _ in range(180):
        history = _ask(f"{address}/history/{queued['prompt_id']}")
        if history:
            break
        time.sleep(1)
    (outcome,) = history.values()
    assert outcome["status"]["status_str"] == "success", outcome["status"]
    (made,) = outcome["outputs"]["4"]["images"]
    restored = load_rgb(folder / "output" / made["filename"])
    expected = Restorer("mtair_small")(noisy)
    assert np.abs(restored.astype(int) - expected).max() <= 1  # ComfyUI rounds down
    assert np.abs(restored.astype(int) - noisy).mean() > 2
