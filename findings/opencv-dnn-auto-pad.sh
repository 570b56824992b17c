#!/usr/bin/env bash
# OpenCV 5.0.0: cv2.dnn pads by `auto_pad` in other places than ONNX prescribes. SAME_LOWER, which puts
# the odd zero before the samples, is taken for SAME_UPPER: the result is shifted by a sample. A
# ConvTranspose with SAME_UPPER or SAME_LOWER is shorter than its input times the stride. Graphs that
# come from TensorFlow have such nodes. Nothing is raised.
# Seen for 1, 2, 4: convolution with (1, 10), SAME_LOWER: 10, 21, 42 by ONNX Runtime 1.32.0, 21, 42, 4 by
# OpenCV; transposed convolution with (1, 10, 100), stride 2, SAME_UPPER: 6 samples and 5.
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
from onnx import TensorProto, helper, numpy_helper

row = np.array([1, 2, 4], np.float32).reshape(1, 1, 1, 3)


def run(
    operator: str, weights: list[float], length: int, **attributes
) -> tuple[list[float], list[float]]:
    """Run one layer, whose result has `length` samples, by ONNX Runtime and by OpenCV."""
    kernel = np.array(weights, np.float32).reshape(1, 1, 1, -1)
    graph = helper.make_graph(
        [
            helper.make_node(
                operator, ["x", "w"], ["y"], kernel_shape=kernel.shape[2:], **attributes
            )
        ],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, row.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, length])],
        [numpy_helper.from_array(kernel, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    network = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    network.setInput(row, "x")
    return session.run(None, {"x": row})[0].ravel().tolist(), network.forward().ravel().tolist()


lower = run("Conv", [1, 10], 3, auto_pad="SAME_LOWER")
print("Conv, SAME_LOWER", *lower)
assert lower == ([10, 21, 42], [21, 42, 4])
transposed = run("ConvTranspose", [1, 10, 100], 6, auto_pad="SAME_UPPER", strides=[1, 2])
print("ConvTranspose, SAME_UPPER", *transposed)
assert transposed == ([1, 10, 102, 20, 204, 40], [10, 102, 20, 204, 40])
PYTHON
