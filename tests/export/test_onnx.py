"""Exported files give what the networks give, at every size, and say what they are."""

import json

import numpy as np
import pytest
import torch

from unveil import create_model, save_pretrained
from unveil.errors import InputError, OutputError
from unveil.inference import restore_tensor

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from unveil.export import export_onnx, parity  # noqa: E402
from unveil.export.graph import build_graph  # noqa: E402
from unveil.export.graph_modules import padded  # noqa: E402
from unveil.inference.padding import pad_to_multiple  # noqa: E402
from unveil.layers.attention import cosines  # noqa: E402

SIZES = ((1, 1), (7, 5), (65, 47))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network of every kind of scan, whose weights change an image a lot."""
    torch.manual_seed(0)
    levels = [
        {"width": 8, "encoder": 1, "decoder": 1, "parts": ("joint",)},
        {"width": 12, "encoder": 2, "parts": ("joint",)},
    ]
    orders = (("row", "column"), ("row_reversed", "column_reversed"))
    model = create_model("cu_mamba_tiny", levels=levels, orders=orders, scan_norm=True).eval()
    with torch.no_grad():
        model.head.weight *= 30
    folder = tmp_path_factory.mktemp("network")
    save_pretrained(model, folder)
    return model, folder


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    target = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unveil.export.onnx.SIZES", SIZES)
        made = export_onnx(network[1], target)
    return target, made


def _run(path, **inputs):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {name: value.numpy() for name, value in inputs.items()})


def test_a_file_gives_what_restore_tensor_gives_at_any_size_and_batch(network, exported):
    target, made = exported
    assert [(a.height, a.width) for a in made.agreements] == list(SIZES)
    for shape in [(2, 3, 33, 20), (1, 3, 4, 4), (3, 3, 1, 9)]:
        image = torch.rand(shape)
        expected = restore_tensor(network[0], image)
        assert (expected - image).std() > 0.01
        (restored,) = _run(target, image=image)
        np.testing.assert_allclose(restored, expected.numpy(), atol=2e-5)


def test_the_graph_is_standard_small_and_of_free_size(exported):
    target, _ = exported
    model = onnx.load(target)
    assert model.ir_version == 8
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    for item in (*model.graph.input, *model.graph.output):
        axes = [axis.dim_param or axis.dim_value for axis in item.type.tensor_type.shape.dim]
        assert axes == ["batch", 3, "height", "width"]
    # Nothing of the machine it was made on.
    assert b"/src/" not in target.read_bytes()
    assert b"stack_trace" not in target.read_bytes()


def test_metadata_says_what_the_file_is(network, exported):
    entries = {e.key: e.value for e in onnx.load(exported[0]).metadata_props}
    assert entries["unveil.id"] == "cu_mamba_tiny"
    assert entries["unveil.part"] == "whole"
    assert json.loads(entries["unveil.config"]) == network[0].config.model_dump(mode="json")
    assert (entries["unveil.tile"], entries["unveil.overlap"]) == ("1024", "32")
    assert len(entries["unveil.sha256"]) == 64


def test_a_file_that_differs_is_not_written(network, tmp_path, monkeypatch):
    monkeypatch.setattr("unveil.export.onnx.SIZES", ((7, 5),))
    real = parity.open_session

    class Wrong:
        def __init__(self, model):
            self.session = real(model)

        def run(self, *arguments):
            return [self.session.run(*arguments)[0] + np.float32(2e-4)]

    monkeypatch.setattr("unveil.export.onnx.open_session", Wrong)
    with pytest.raises(OutputError, match="nothing was written"):
        export_onnx(network[1], tmp_path / "a.onnx", size=16)
    assert not list(tmp_path.iterdir())


def test_what_is_there_stays_and_what_does_not_fit_is_refused(network, tmp_path):
    target = tmp_path / "a.onnx"
    target.write_bytes(b"mine")
    with pytest.raises(OutputError, match="--force"):
        export_onnx(network[1], target)
    assert target.read_bytes() == b"mine"
    with pytest.raises(InputError, match="expected dynamic"):
        export_onnx(network[1], tmp_path / "b.onnx", size=0)
    with pytest.raises(InputError, match="its one file serves"):
        export_onnx("cu_mamba_small", tmp_path / "b.onnx", tiles=True)
    with pytest.raises(InputError, match="network of unveil's own"):
        export_onnx("identity", tmp_path / "b.onnx")


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 8), (16, 9)])
def test_padding_inside_the_graph_is_that_of_inference(size):
    image = torch.rand(1, 3, *size)
    assert torch.equal(padded(image, 8), pad_to_multiple(image, 8))


def test_cosines_of_channels_without_power_are_numbers():
    class Cosines(torch.nn.Module):
        def forward(self, gram, query, key):
            return cosines(gram, query, key)

    gram, power = torch.zeros(2, 4, 4), torch.tensor([0.0, 1.0, -1e-9, 4.0]).expand(2, 4)
    given = {"gram": gram + 1e-3, "query": power.clone(), "key": power.clone()}
    graph = build_graph(Cosines(), (*given.values(),), [*given], ["out"], dynamic=False)
    (found,) = parity.open_session(graph).run(None, {n: x.numpy() for n, x in given.items()})
    np.testing.assert_allclose(found, cosines(*given.values()).numpy(), rtol=1e-5)
    assert np.isfinite(found).all()
