#!/usr/bin/env bash
# torch 2.13.0 with onnxscript 0.7.2: torch.onnx.export, by its defaults, drops the addition of a
# constant of 1e-8 or less, and a product with 1 ± 1e-5 or less. So x / (|x| + 1e-8), which is 0 for
# x = 0 in torch, is 0 / 0 in the file; one plus 1e-6 times x is x. With `optimize=False` the file
# keeps them. The optimiser looks for constants 0 and 1 with the tolerances of `math.isclose`.
# Exits with 1 if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy==2.4.6 onnx==1.23.2 onnxscript==0.7.2 \
    onnxruntime==1.32.0
"$folder/venv/bin/python" - "$folder/unit.onnx" 2>/dev/null <<'PYTHON'
import sys

import onnx
import onnxruntime
import torch
from torch import nn


class Unit(nn.Module):
    def __init__(self, epsilon):
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x):
        return x / (x.norm(dim=-1, keepdim=True) + self.epsilon), x * (1 + 1e-6)


x, found = torch.zeros(2, 4), {}
for epsilon in (1e-7, 1e-8, 1e-12):
    for optimize in (True, False):
        module = Unit(epsilon).eval()
        program = torch.onnx.export(module, (x,), dynamo=True, optimize=optimize, verbose=False)
        program.save(sys.argv[1])
        kinds = {node.op_type for node in onnx.load(sys.argv[1]).graph.node}
        session = onnxruntime.InferenceSession(sys.argv[1])
        unit = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
        numbers = bool(torch.from_numpy(unit).isfinite().all())
        found[epsilon, optimize] = "Add" in kinds, "Mul" in kinds, numbers
        print(
            f"torch {torch.__version__}, epsilon {epsilon}, optimize={optimize}: "
            f"sum kept {'Add' in kinds}, product kept {'Mul' in kinds}, result finite {numbers}; "
            f"torch's result finite {bool(module(x)[0].isfinite().all())}"
        )
kept, lost = (True, True, True), (False, False, False)
expected = {(1e-7, True): (True, False, True), (1e-8, True): lost, (1e-12, True): lost}
expected |= {(epsilon, False): kept for epsilon in (1e-7, 1e-8, 1e-12)}
raise SystemExit(found != expected)
PYTHON
