#!/usr/bin/env bash
# OpenCV 5.0.0: cv2.dnn computes Softplus of an ONNX graph as log(1 + exp(x)) in float32. From 89 on the
# result is infinite where it should be x. The step sizes of state-space networks are a softplus.
# Seen for x = 50, 88, 89, 100: 50, 88, inf, inf; ONNX Runtime 1.32.0 gives x.
# Exits with 1 if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q opencv-python-headless==5.0.0.93 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import cv2
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

x = np.array([[50, 88, 89, 100]], np.float32)
graph = helper.make_graph(
    [helper.make_node("Softplus", ["x"], ["y"])],
    "softplus",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
data = model.SerializeToString()
session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
right = session.run(None, {"x": x})[0]
network = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
network.setInput(x, "x")
result = network.forward()
print("ONNX Runtime", right, "OpenCV", result)
assert np.array_equal(right, x)
assert np.array_equal(np.isinf(result), [[False, False, True, True]])
PYTHON
