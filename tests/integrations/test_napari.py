import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import unveil
from unveil import Restorer
from unveil.integrations.napari import restore_layer

MANIFEST = Path(unveil.__file__).with_name("napari.yaml")


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((9, 11), "uint16"), ((9, 11, 3), "uint8"), ((2, 9, 11), "uint8"), ((9, 11), "float64")],
)
def test_a_layer_keeps_its_shape_and_type(shape, dtype):
    layer = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    restored = restore_layer(layer, "cu_mamba_small")
    assert (restored.shape, restored.dtype) == (layer.shape, layer.dtype)
    assert not np.array_equal(restored, layer)
    if layer.dtype.kind == "u":
        np.testing.assert_array_equal(restore_layer(layer, strength=0.0), layer)


def test_the_manifest_names_functions_that_are_there():
    manifest = yaml.safe_load(MANIFEST.read_text())
    for command in manifest["contributions"]["commands"]:
        module, name = command["python_name"].split(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_npe2_takes_the_manifest():
    if importlib.util.find_spec("npe2") is None:
        pytest.skip("npe2 is not installed")
    words = [sys.executable, "-m", "npe2", "validate", str(MANIFEST)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


_IN_NAPARI = """
import sys
import napari, numpy as np
from npe2 import PluginManager, PluginManifest

manager = PluginManager.instance()
manifest = PluginManifest.from_file(sys.argv[1])
if manifest.name not in manager._manifests:
    manager.register(manifest)
viewer = napari.Viewer(show=False)
viewer.add_image(np.load(sys.argv[2]), name="photo", rgb=True)
_, widget = viewer.window.add_plugin_dock_widget("unveil")
widget.model.value = "cu_mamba_small"
widget.call_button.native.click()
np.save(sys.argv[3], viewer.layers[-1].data)
print(napari.__version__, [layer.name for layer in viewer.layers])
"""


@pytest.mark.slow
def test_the_widget_restores_a_layer_in_napari(tmp_path):
    python = os.environ.get("NAPARI_PYTHON")
    if not python:
        pytest.skip("NAPARI_PYTHON names no Python with napari")
    noisy = (np.random.default_rng(0).random((40, 56, 3)) * 60 + 90).astype(np.uint8)
    np.save(tmp_path / "noisy.npy", noisy)
    words = [python, "-c", _IN_NAPARI, str(MANIFEST), "noisy.npy", "restored.npy"]
    environment = os.environ | {"PYTHONPATH": str(MANIFEST.parents[1])}
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    restored = np.load(tmp_path / "restored.npy")
    np.testing.assert_array_equal(restored, Restorer("cu_mamba_small")(noisy))
