"""Networks that look at the whole image, in files whose tiles share what they see of it."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unveil import create_model, save_pretrained
from unveil.errors import InputError
from unveil.inference import restore_tensor, statistics
from unveil.inference.loading import load
from unveil.inference.tiling import TiledInference

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from unveil.export import export_onnx  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "restore_tiles_with_onnx.py"
SIZES = ((1, 1), (7, 5), (150, 190))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network with prompts and channel attention, whose weights change an image a lot."""
    torch.manual_seed(0)
    made = create_model("mtair_tiny", layer_scale=1.0).eval()
    with torch.no_grad():
        made.head.weight *= 10
    folder = tmp_path_factory.mktemp("network")
    save_pretrained(made, folder)
    return made, folder


def _metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_a_pair_shares_an_images_statistics_between_tiles(network, tmp_path, monkeypatch):
    monkeypatch.setattr("unveil.export.parts.SIZES", SIZES)
    made = export_onnx(network[1], tmp_path / "a.onnx", tiles=True)
    assert [file.name for file in made.files] == ["a.statistics.onnx", "a.restore.onnx"]
    gather, restore = map(ort.InferenceSession, map(str, made.files))
    crops, tile = torch.rand(3, 3, 24, 16), torch.rand(2, 3, 21, 30)
    places = torch.tensor([[0, 0.3, 0, 1], [0.3, 0.6, 0, 1], [0.6, 1, 0, 1]])
    names = [output.name for output in gather.get_outputs()]
    found = gather.run(names, {"image": crops.numpy(), "places": places.numpy()})
    context = statistics.ConditionedStatistics({}, places)
    with torch.no_grad():
        network[0].residual(crops, context)
    context = context.recorded()
    for name, value in zip(names, found, strict=True):
        expected = context.statistics[name.removeprefix("statistic.")]
        np.testing.assert_allclose(value, expected.numpy(), atol=2e-4, rtol=2e-4)
    given = {"image": tile.numpy(), **dict(zip(names, found, strict=True))}
    with torch.no_grad():
        expected = restore_tensor(network[0], tile, context)
    np.testing.assert_allclose(restore.run(None, given)[0], expected.numpy(), atol=1e-4)
    about = _metadata(made.files[1])
    assert set(json.loads(about["unveil.inputs"])) == {"image", *names}


def test_stages_do_what_the_package_does_and_the_example_runs_them(network, tmp_path, monkeypatch):
    loaded = load(network[1])
    loaded.tiling = replace(loaded.tiling, tile=128, overlap=32, whole_latent=True)
    monkeypatch.setattr("unveil.export.onnx.load", lambda *_: loaded)
    monkeypatch.setattr("unveil.export.parts.SIZES", SIZES)
    made = export_onnx(network[1], tmp_path / "a.onnx", tiles=True)
    assert [(found.height, found.width) for found in made.agreements] == list(SIZES)
    order = _metadata(made.files[0])["unveil.parts"].split(", ")
    assert [file.name for file in made.files] == [f"a.{part}.onnx" for part in order]
    assert [part.partition(".")[0] for part in order] == sorted(
        part.partition(".")[0] for part in order
    )
    for file, part in zip(made.files, order, strict=True):
        about = _metadata(file)
        assert (about["unveil.part"], about["unveil.tile"]) == (part, "128")
        inputs, outputs = (json.loads(about[f"unveil.{key}"]) for key in ("inputs", "outputs"))
        session = ort.InferenceSession(str(file))
        assert list(inputs) == [item.name for item in session.get_inputs()]
        assert list(outputs) == [item.name for item in session.get_outputs()]
        assert inputs["held.0"][1:3] in (["height", "width"], [3, "height"])

    height, width = 253, 301
    drift = np.linspace(0.3, 0.7, width, dtype=np.float32)[None, :, None]
    noise = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    photo = 0.5 * drift + 0.5 * noise
    example = runpy.run_path(str(EXAMPLE))
    change = example["restore"](example["Network"](str(tmp_path / "a")), photo) - photo
    expected = np.empty_like(photo)
    tiling = replace(loaded.tiling, whole_megapixels=0.0)
    TiledInference(network[0], torch.device("cpu"), tiling).change(photo, expected)
    assert np.linalg.norm(expected) > 0.01 * np.linalg.norm(photo)
    np.testing.assert_allclose(change, expected, atol=2e-3 * np.abs(expected).max())


def test_a_window_of_statistics_is_refused(network, tmp_path, monkeypatch):
    loaded = load(network[1])
    loaded.tiling = replace(loaded.tiling, whole_latent=True, window=256)
    monkeypatch.setattr("unveil.export.onnx.load", lambda *_: loaded)
    with pytest.raises(InputError, match="leave out --tiles"):
        export_onnx(network[1], tmp_path / "a.onnx", tiles=True)
