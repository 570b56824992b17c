#!/usr/bin/env bash
# OpenCV 5.0.0: cv2.dnn reads ONNX Swish (opset 24), x · sigmoid(alpha · x), and takes alpha for 1,
# without a message. Networks that write the quick form of GELU as Swish with alpha = 1.702 give other
# values. Expected values are those of ONNX's own reference evaluator.
# Seen for x = 1, alpha 1.702: 0.846 by the reference, 0.731 by OpenCV.
# Exits with 1 if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q opencv-python-headless==5.0.0.93 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import cv2
import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

x = np.array([[-1, 1]], np.float32)
graph = helper.make_graph(
    [helper.make_node("Swish", ["x"], ["y"], alpha=1.702)],
    "swish",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
right = ReferenceEvaluator(model).run(None, {"x": x})[0]
network = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
network.setInput(x, "x")
result = network.forward()
print("reference", right, "OpenCV", result)
assert np.allclose(right, x / (1 + np.exp(-1.702 * x)), atol=1e-5)
assert np.allclose(result, x / (1 + np.exp(-x)), atol=1e-5)
PYTHON
