#!/usr/bin/env bash
# onnx 1.23.2: the reference evaluator, to which runtimes are compared, gives wrong values for two
# operators. LpNormalization with p=1 divides by the sum of the signed values in place of their
# absolute values. GridSample of mode "cubic" with padding_mode="border" differs from PyTorch, for which
# the operator was made; ONNX Runtime 1.32.0 agrees with PyTorch.
# Seen: (1, -3) becomes (-0.5, 1.5), by ONNX Runtime (0.25, -0.75).
# Exits with 1 if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 torch==2.13.0
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def run(operator: str, inputs: dict, **attributes) -> tuple[np.ndarray, np.ndarray]:
    """Run one operator by the reference evaluator and by ONNX Runtime."""
    graph = helper.make_graph(
        [helper.make_node(operator, list(inputs), ["y"], **attributes)],
        "operator",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
            for name, value in inputs.items()
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return ReferenceEvaluator(model).run(None, inputs)[0], session.run(None, inputs)[0]


reference, runtime = run(
    "LpNormalization", {"x": np.array([[1, -3]], np.float32)}, axis=1, p=1
)
print("LpNormalization", reference, runtime)
assert np.allclose(reference, [[-0.5, 1.5]])
assert np.allclose(runtime, [[0.25, -0.75]])

random = np.random.default_rng(0)
picture = random.uniform(size=(1, 1, 6, 6)).astype(np.float32)
grid = random.uniform(-1.2, 1.2, size=(1, 8, 8, 2)).astype(np.float32)
reference, runtime = run(
    "GridSample", {"x": picture, "grid": grid}, mode="cubic", padding_mode="border"
)
right = torch.nn.functional.grid_sample(
    torch.from_numpy(picture),
    torch.from_numpy(grid),
    mode="bicubic",
    padding_mode="border",
    align_corners=False,
).numpy()
print("GridSample off by", np.abs(reference - right).max(), np.abs(runtime - right).max())
assert np.abs(reference - right).max() > 0.01
assert np.abs(runtime - right).max() < 1e-5
PYTHON
