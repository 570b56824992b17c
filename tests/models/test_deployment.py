"""Compilers, exports, autocast and growth of the small variants."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch

from unveil import create_model

SMALL = ["cu_mamba_small", "mtair_small"]


@pytest.mark.parametrize("name", SMALL)
def test_an_exported_graph_of_a_fixed_size_gives_the_same(name):
    model = create_model(name).eval()
    x = torch.rand(1, 3, 32, 48)
    exported = torch.export.export(model, (x,))
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SMALL)
def test_a_compiled_network_gives_the_same(name):
    model = create_model(name).eval()
    compiled = torch.compile(model, fullgraph=True)
    x = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_autocast_stays_within_45_db(name):
    model = create_model(name).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        # A fresh network hardly changes the image; give it a denoiser's residual, 0.1 strong.
        model.head.weight *= 0.1 / (model(x) - x).std()
        expected = model(x)
        assert (expected - x).std() > 0.05
        with torch.autocast("cpu", torch.bfloat16):
            restored = model(x)
    error = (restored.float() - expected).square().mean()
    assert -10 * error.log10() >= 45


def _exponent(sides, costs):
    """Return the slope of log cost over log pixels."""
    pixels = torch.tensor([2 * math.log(side) for side in sides], dtype=torch.float64)
    costs = torch.tensor(costs, dtype=torch.float64).log()
    centred = pixels - pixels.mean()
    return ((centred * (costs - costs.mean())).sum() / centred.square().sum()).item()


_MEASURE = """
import json, statistics, sys, time
import torch
from unveil import create_model
from unveil.bench.model import peak_mebibytes

model = create_model(sys.argv[1]).eval()
for side in map(int, sys.argv[2:]):
    image = torch.rand(1, 3, side, side)

    def run():
        with torch.no_grad():
            model(image)

    seconds = []
    for _ in range(4):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    print(json.dumps([statistics.median(seconds[1:]), peak_mebibytes(run)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, "cu_mamba_tiny", "mtair_tiny"])
def test_time_and_memory_grow_linearly_with_pixels(name):
    sides = (256, 512, 1024, 2048)
    # glibc maps tensors above 32 MiB afresh each time, which doubles the time of a megapixel from
    # one size on; that step is the C library's, not the network's.
    environment = os.environ | {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
    words = [sys.executable, "-c", _MEASURE, name, *map(str, sides)]
    printed = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    seconds, memory = zip(*map(json.loads, printed.stdout.splitlines()), strict=True)
    assert _exponent(sides, seconds) <= 1.1, seconds
    if memory[0] is not None:
        assert _exponent(sides, memory) <= 1.1, memory
