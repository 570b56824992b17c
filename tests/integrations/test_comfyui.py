"""The nodes against a stub of ComfyUI's API, and against ComfyUI itself where a path is given."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from unveil import Restorer

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


def test_the_nodes_register_in_comfyui():
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        pytest.skip("COMFYUI_PATH names no ComfyUI")
    code = f"""
import asyncio, importlib.util, sys
sys.path.insert(0, {path!r})
sys.argv = ["main.py", "--cpu"]
spec = importlib.util.spec_from_file_location("unveil_comfyui", {str(FOLDER / "__init__.py")!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
extension = asyncio.run(module.comfy_entrypoint())
for node in asyncio.run(extension.get_node_list()):
    node.GET_SCHEMA()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
