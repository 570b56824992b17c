#!/usr/bin/env bash
# OpenCV 5.0.0: cv2.dnn computes where an ONNX Resize samples from the ratio of both sizes and not from
# the scales that the graph gives. They differ where a size times its scale is no integer, such as an
# odd side halved: the picture is stretched by up to a pixel, without a message. ONNX prescribes the
# given scales.
# Seen for rows of 0, 1, …, 8 at scale 0.5, linear, half_pixel: ONNX Runtime 1.32.0 gives 0.5, 2.5, 4.5, 6.5,
# OpenCV 0.625, 2.875, 5.125, 7.375. With ten numbers both agree.
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


def halve(length: int) -> tuple[list[float], list[float]]:
    """Halve a square whose rows are 0, 1, … by ONNX Runtime and by OpenCV; return a row."""
    square = np.tile(np.arange(length, dtype=np.float32), (1, 1, length, 1))
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear")],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, square.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, length // 2, length // 2])],
        [numpy_helper.from_array(np.array([1, 1, 0.5, 0.5], np.float32), "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    network = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    network.setInput(square, "x")
    results = session.run(None, {"x": square})[0], network.forward()
    return results[0][0, 0, 1].round(3).tolist(), results[1][0, 0, 1].round(3).tolist()


even, odd = halve(10), halve(9)
print("ten numbers", *even)
print("nine numbers", *odd)
assert np.allclose(even, [0.5, 2.5, 4.5, 6.5, 8.5], atol=2e-3)
assert np.allclose(odd, [[0.5, 2.5, 4.5, 6.5], [0.625, 2.875, 5.125, 7.375]], atol=2e-3)
PYTHON
