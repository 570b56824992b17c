"""The scan by rows against the scan in float64."""

import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from unveil.export.nodes import Nodes  # noqa: E402
from unveil.export.onnx_scan import DOMAIN, OPERATOR, scan_nodes, softplus  # noqa: E402
from unveil.export.parity import open_session  # noqa: E402
from unveil.ops import selective_scan_2d  # noqa: E402

ORDERS = ("row", "column", "row_reversed", "column_reversed")


def _session(nodes, inputs, output):
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in inputs]
    made = onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(nodes.nodes, "g", values, [made], initializer=nodes.constants)
    opset = onnx.helper.make_opsetid("", 18)
    return open_session(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8))


@pytest.mark.parametrize("step", [1e-4, 0.05, 5.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (5, 12), (33, 17)])
def test_a_scan_by_rows_is_the_scan(size, step):
    generator = torch.Generator().manual_seed(0)
    h, w = size
    b, d, n, k, r = 2, 6, 3, len(ORDERS), 2
    random = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    u, delta, B, C = random(b, h, w, d), random(b, h, w, k, r), *random(2, b, h, w, k, n)
    A, weight = -random(k, d, n).exp(), random(k, d, r) * 0.1
    # Softplus of the bias is the step over |A|: decays near 1, of a token, and of nothing.
    bias = torch.log(torch.expm1(torch.full((k, d), step, dtype=torch.float64)))
    A, D = A / A.abs().mean(), random(k, d)
    expected = selective_scan_2d(
        u, delta, A, B, C, D, delta_bias=bias, delta_softplus=True, orders=ORDERS,
        delta_weight=weight, backend="reference",
    )  # fmt: skip
    names = ["u", "delta", "A", "B", "C", "D", "bias", "weight"]
    node = onnx.helper.make_node(
        OPERATOR, names, ["y"], domain=DOMAIN, orders=",".join(ORDERS), softplus=1
    )
    constants = dict(zip(["A", "D", "bias", "weight"], (A, D, bias, weight), strict=True))
    session = _session(
        scan_nodes(node, {key: x.float().numpy() for key, x in constants.items()}, "s"),
        ["u", "delta", "B", "C"], "y",
    )  # fmt: skip
    given = {"u": u, "delta": delta, "B": B, "C": C}
    (y,) = session.run(None, {key: x.float().numpy() for key, x in given.items()})
    error = (torch.from_numpy(y).double() - expected).abs().max() / expected.abs().max()
    assert error <= 1e-5


def test_small_steps_keep_their_digits():
    nodes = Nodes("s")
    out = softplus(nodes, "x")
    x = np.linspace(-40, 40, 4001, dtype=np.float32)
    (y,) = _session(nodes, ["x"], out).run(None, {"x": x})
    expected = nn.functional.softplus(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(y, expected, rtol=2e-6)
