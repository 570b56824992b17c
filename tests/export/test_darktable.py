"""The package opens as darktable opens it, and tiles as darktable tiles show no seams."""

import json
import zipfile

import numpy as np
import pytest

pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from unveil.errors import InputError  # noqa: E402
from unveil.export import export_darktable  # noqa: E402
from unveil.export.darktable import TILE, configuration  # noqa: E402
from unveil.models.card import read_card  # noqa: E402

OVERLAP = 64


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    target = tmp_path_factory.mktemp("darktable") / "cu.dtmodel"
    export_darktable("cu_mamba_small", target)
    return target


def _as_darktable(session, image, tile):
    """Restore ``(3, h, w)`` in tiles with a margin, mirrored at the rim; results are clamped."""
    height, width = image.shape[1:]
    core = tile - 2 * OVERLAP
    out = np.zeros_like(image)
    for top in range(0, height, core):
        for left in range(0, width, core):
            rows = _mirrored(np.arange(top - OVERLAP, top + core + OVERLAP), height)
            columns = _mirrored(np.arange(left - OVERLAP, left + core + OVERLAP), width)
            given = np.ascontiguousarray(image[:, rows][:, :, columns])[None]
            (restored,) = session.run(None, {session.get_inputs()[0].name: given})
            part = restored[0, :, OVERLAP:-OVERLAP, OVERLAP:-OVERLAP]
            bottom, right = min(top + core, height), min(left + core, width)
            out[:, top:bottom, left:right] = part[:, : bottom - top, : right - left]
    return np.clip(out, 0, 1)


def _mirrored(index, length):
    index = np.abs(index)
    last = length - 1
    return np.clip(last - np.abs(index - last), 0, last)


@pytest.mark.slow
def test_the_package_is_one_folder_with_the_configuration_first(package):
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        assert names == ["cu_mamba_small/config.json", "cu_mamba_small/model.onnx"]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        config = json.loads(archive.read(names[0]).decode())
        session = ort.InferenceSession(archive.read(names[1]))
    assert config == configuration("cu_mamba_small", read_card("cu_mamba_small"))
    assert config["model_card"]["license"] == "Apache-2.0"
    assert config["num_inputs"] == len(session.get_inputs()) == len(session.get_outputs()) == 1
    assert session.get_inputs()[0].shape == [1, 3, "height", "width"]
    assert session.get_inputs()[0].type == "tensor(float)"


@pytest.mark.slow
def test_tiles_agree_with_the_whole_image_and_show_no_seam(package):
    with zipfile.ZipFile(package) as archive:
        session = ort.InferenceSession(archive.read("cu_mamba_small/model.onnx"))
    rng = np.random.default_rng(0)
    down, across = np.mgrid[0:700, 0:900] / 60
    waves = [0.5 + 0.3 * np.sin(down * (c + 1)) * np.cos(across) for c in range(3)]
    image = np.clip(np.stack(waves) + rng.normal(0, 0.08, (3, 700, 900)), 0, 1).astype(np.float32)
    whole = np.clip(session.run(None, {session.get_inputs()[0].name: image[None]})[0][0], 0, 1)
    tiled = _as_darktable(session, image, TILE)
    error = np.square(tiled - whole, dtype=np.float64)
    assert -10 * np.log10(error.mean()) >= 45
    # A seam would stand at multiples of the tile's core.
    seam = TILE - 2 * OVERLAP
    beside = np.sqrt(error[:, :, seam - 2 : seam + 2].mean())
    assert beside < 4 * np.sqrt(error.mean()) + 1e-3


def test_the_configuration_holds_what_darktable_reads():
    config = configuration("cu_mamba_small")
    assert config["task"] == "denoise"
    assert config["attributes"] == {"input_sizes": [768]}
    major, minor = config["version"].split(".")
    assert major.isdecimal()
    assert minor.isdecimal()


def test_a_network_that_looks_at_the_whole_image_is_refused(tmp_path):
    with pytest.raises(InputError, match="tiles alone"):
        export_darktable("mtair_small", tmp_path / "a.dtmodel")
    assert not list(tmp_path.iterdir())
