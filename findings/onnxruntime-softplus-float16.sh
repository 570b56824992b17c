#!/usr/bin/env bash
# ONNX Runtime 1.32.0 on a CPU: Softplus of float16 values from 89 on is infinite in a graph of opset
# 18 and right in graphs of opset 17 and 20. For opset 18 the operator is replaced by its definition,
# Log(Exp(x) + 1), computed in float32, where the exponential overflows; in the others Softplus of
# float32 is used. A state-space network whose step sizes are a softplus gives infinite values.
# Seen for x = 100: 100 (opset 17), inf (18), 100 (20).
# Exits with 1 if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper


def softplus(opset: int) -> np.ndarray:
    """Run one Softplus of the operator set on two numbers in float16."""
    kind = TensorProto.FLOAT16
    graph = helper.make_graph(
        [helper.make_node("Softplus", ["x"], ["y"])],
        "softplus",
        [helper.make_tensor_value_info("x", kind, [2])],
        [helper.make_tensor_value_info("y", kind, [2])],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": np.array([50, 100], np.float16)})[0]


seen = {opset: softplus(opset).tolist() for opset in (17, 18, 20)}
print(seen)
assert seen[17] == seen[20] == [50, 100]
assert seen[18] == [50, float("inf")]
PYTHON
