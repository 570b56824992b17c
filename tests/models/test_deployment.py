"""Compilers, exports, autocast and growth of the small variants."""

import functools
import math
import statistics
import time

import pytest
import torch

from unveil import create_model
from unveil.bench.model import peak_mebibytes

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
    compiled = torch.compile(model)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, "cu_mamba_tiny", "mtair_tiny"])
def test_time_and_memory_grow_linearly_with_pixels(name):
    model = create_model(name).eval()
    sides, seconds, memory = (256, 512, 1024, 2048), [], []
    for side in sides:
        image = torch.rand(1, 3, side, side)
        run = functools.partial(_restore, model, image)
        seconds.append(statistics.median(_process_seconds(run) for _ in range(3)))
        memory.append(peak_mebibytes(run))
    assert _exponent(sides, seconds) <= 1.1
    if memory[0] is not None:
        # Below some ten MiB the allocator's reserves decide.
        assert _exponent(sides[1:], memory[1:]) <= 1.1


def _restore(model, image):
    with torch.no_grad():
        model(image)


def _process_seconds(run):
    start = time.process_time()
    run()
    return time.process_time() - start
