#!/usr/bin/env bash
# OpenVINO 2026.4.1: Softmax of an ONNX graph of opset 11 or 12 is taken along one axis. Before opset 13
# the operator flattens all dimensions from `axis` on and normalises over them together, as ONNX
# Runtime does, and as OpenVINO itself does for LogSoftmax. Older graphs of restorers with attention
# give other pictures, without a message.
# Seen for a (1, 2, 3) tensor, axis 1: values sum to 1 in ONNX Runtime, to 3 in OpenVINO.
# Exits with 1 if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper

x = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
core = openvino.Core()


def sums(operator: str) -> tuple[float, float]:
    """Sum the probabilities that ONNX Runtime and OpenVINO give."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], axis=1)],
        "softmax",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    compiled = core.compile_model(
        core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    results = session.run(None, {"x": x})[0], compiled([x])[0]
    values = [np.exp(y) if operator == "LogSoftmax" else y for y in results]
    return round(float(values[0].sum()), 4), round(float(values[1].sum()), 4)


seen = {operator: sums(operator) for operator in ("Softmax", "LogSoftmax")}
print("sums by ONNX Runtime and OpenVINO:", seen)
assert seen == {"Softmax": (1.0, 3.0), "LogSoftmax": (1.0, 1.0)}
PYTHON
