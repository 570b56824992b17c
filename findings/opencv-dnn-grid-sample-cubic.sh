#!/usr/bin/env bash
# OpenCV 5.0.0: cv2.dnn takes an ONNX GridSample of mode "cubic", as opset 20 names it, for bilinear
# interpolation, without a message. A network that warps or aligns features gives a softer picture.
# Under the names of opset 16 ("bicubic") both agree.
# Seen for a unit sample read half a pixel beside it: 0.594 by ONNX Runtime 1.32.0, 0.5 by OpenCV.
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

picture = np.zeros((1, 1, 9, 9), np.float32)
picture[0, 0, 4, 4] = 1
grid = np.zeros((1, 1, 1, 2), np.float32)
grid[..., 0] = 0.125  # half a pixel to the right of the middle one, with align_corners


def sample(mode: str, opset: int) -> tuple[float, float]:
    """Sample the picture by ONNX Runtime and by OpenCV."""
    graph = helper.make_graph(
        [helper.make_node("GridSample", ["x", "grid"], ["y"], mode=mode, align_corners=1)],
        "sample",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, picture.shape),
            helper.make_tensor_value_info("grid", TensorProto.FLOAT, grid.shape),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    right = session.run(None, {"x": picture, "grid": grid})[0]
    network = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    network.setInput(picture, "x")
    network.setInput(grid, "grid")
    return round(right.item(), 4), round(network.forward().item(), 4)


old, new = sample("bicubic", 16), sample("cubic", 20)
print("opset 16", old, "opset 20", new)
assert old == (0.5938, 0.5938)
assert new == (0.5938, 0.5)
PYTHON
