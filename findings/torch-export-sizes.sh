#!/usr/bin/env bash
# torch 2.13.0: a module that pads images to a multiple of 8 is exported by torch.export with free
# sizes (Dim.AUTO) from an example of 52×68. The program states that every side from 2 on is
# allowed, and then refuses 16×16 and 48×68: a guard has it that the padded image is larger than the
# image, as the example's was. `prefer_deferred_runtime_asserts_over_guards` turns the guard into
# an assertion inside the graph. The module itself takes all of these sizes.
# Exits with 1 if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch import nn
from torch.export import Dim, export


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image):
        height, width = image.shape[2:]
        rims = (0, -width % 8, 0, -height % 8)
        padded = self.convolution(nn.functional.pad(image, rims, mode="replicate"))
        return padded[..., :height, :width].permute(0, 2, 3, 1).contiguous()


module = Padded().eval().requires_grad_(False)
free = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},)
found = {}
for deferred in (False, True):
    program = export(
        module, (torch.rand(2, 3, 52, 68),), dynamic_shapes=free,
        prefer_deferred_runtime_asserts_over_guards=deferred,
    )
    run = program.module()
    for size in ((52, 68), (33, 20), (7, 5), (16, 16), (48, 68)):
        image = torch.rand(1, 3, *size)
        expected = module(image)
        try:
            found[deferred, size] = bool(torch.allclose(run(image), expected))
        except (AssertionError, RuntimeError) as error:
            found[deferred, size] = type(error).__name__
    print(torch.__version__, "ranges:", list(program.range_constraints.values()))
    print({size: what for (mode, size), what in found.items() if mode == deferred})
refused = {key for key, what in found.items() if what is not True}
raise SystemExit(refused != {(d, s) for d in (False, True) for s in ((16, 16), (48, 68))})
PYTHON
