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
import sys, time
import napari, numpy as np
from napari.qt import get_qapp
from npe2 import PluginManager, PluginManifest

manager = PluginManager.instance()
manifest = PluginManifest.from_file(sys.argv[1])
if manifest.name not in manager._manifests:
    manager.register(manifest)
app = get_qapp()
viewer = napari.Viewer(show=False)
viewer.add_image(np.load(sys.argv[2]), name="photo", rgb=True)
viewer.add_image(np.load(sys.argv[4]), name="large", rgb=True)
_, widget = viewer.window.add_plugin_dock_widget("unveil")
widget.model.value = "cu_mamba_small"

def run(name, then=lambda: None):
    # The window's thread stays free: it draws here, again and again, while the network works.
    widget.image.value = viewer.layers[name]
    widget.restore.native.click()
    assert widget.cancel.enabled and not widget.restore.enabled
    shown = []
    while not widget.restore.enabled:
        shown.append(widget.progress.value)
        app.processEvents()
        then()
        time.sleep(0.01)
    return shown

assert len(run("photo")) > 1
assert [layer.name for layer in viewer.layers] == ["photo", "large", "photo restored"]
np.save(sys.argv[3], viewer.layers[-1].data)
run("large", lambda: widget.progress.value > 0 and widget.cancel.native.click())
assert [layer.name for layer in viewer.layers] == ["photo", "large", "photo restored"]
print(napari.__version__)
"""


@pytest.mark.slow
def test_the_widget_restores_a_layer_in_napari_and_can_be_stopped(tmp_path):
    python = os.environ.get("NAPARI_PYTHON")
    if not python:
        pytest.skip("NAPARI_PYTHON names no Python with napari")
    noisy = (np.random.default_rng(0).random((40, 56, 3)) * 60 + 90).astype(np.uint8)
    np.save(tmp_path / "noisy.npy", noisy)
    # In tiles, so that there is a time to cancel.
    np.save(tmp_path / "large.npy", np.tile(noisy, (30, 25, 1)))
    words = [python, "-c", _IN_NAPARI, str(MANIFEST), "noisy.npy", "restored.npy", "large.npy"]
    environment = os.environ | {"PYTHONPATH": str(MANIFEST.parents[1])}
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    restored = np.load(tmp_path / "restored.npy")
    np.testing.assert_array_equal(restored, Restorer("cu_mamba_small")(noisy))
