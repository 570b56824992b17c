#!/usr/bin/env bash
# OpenVINO 2026.4.1: a graph that sums over an axis of length 1 between two transpositions, such as
# the diagonal blocks of an attention with one head, is read with the right shape, (1, 1, 4, 4), and
# compiled for the CPU with another, (1, 4, 1, 4): the result has that shape, without any message.
# Where a Reshape follows, compiling fails. With an axis of length 2 the result is right. Expected
# values are those of ONNX's own reference evaluator.
# Exits with 1 if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q openvino==2026.4.1 onnx==1.22.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder/model.onnx" <<'PYTHON'
import sys

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def run(heads):
    shape = numpy_helper.from_array(np.array([1, heads, 4, heads, 4]), "shape")
    axis = numpy_helper.from_array(np.array([3]), "axis")
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["split"]),
        helper.make_node("Transpose", ["split"], ["turned"], perm=[0, 2, 4, 1, 3]),
        helper.make_node("ReduceSum", ["turned", "axis"], ["sum"], keepdims=0),
        helper.make_node("Transpose", ["sum"], ["back"], perm=[0, 3, 1, 2]),
        helper.make_node("Softmax", ["back"], ["y"], axis=-1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4 * heads, 4 * heads])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, heads, 4, 4])
    graph = helper.make_graph(nodes, "g", [x], [y], [shape, axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, sys.argv[1])
    given = np.random.default_rng(0).random((1, 4 * heads, 4 * heads), np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": given})
    read = openvino.Core().read_model(sys.argv[1])
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    (found,) = openvino.Core().compile_model(read, "CPU", hint)([given]).values()
    same = found.shape == expected.shape and bool(np.allclose(found, expected, atol=1e-6))
    print(f"{heads} head(s): expected {expected.shape}, read {read.outputs[0].partial_shape}, "
          f"computed {found.shape}, same values {same}")
    return found.shape, same


print("OpenVINO", openvino.__version__)
one, two = run(1), run(2)
raise SystemExit(one != ((1, 4, 1, 4), False) or not two[1])
PYTHON
