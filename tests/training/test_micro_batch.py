"""Estimated memory is that of the tensors autograd really keeps."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from unveil.process import process_memory, trim
from unveil.training.losses import Loss
from unveil.training.micro_batch import saved_bytes


def test_saved_bytes_counts_each_storage_once_and_no_weights():
    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1, 3, 64, 64))

        def forward(self, x):
            scaled = x * self.scale
            return scaled * scaled

    image = 3 * 64 * 64 * 4
    # x for the product, `scaled` twice in one storage, the difference's sign
    assert saved_bytes(Square(), Loss.parse("l1"), 64) == pytest.approx(3 * image, abs=64)


def test_saved_bytes_grow_with_the_area():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 3, 3, padding=1))
    small, large = (saved_bytes(network, Loss.parse("l1"), side) for side in (32, 64))
    assert large == pytest.approx(4 * small, rel=0.01)


def test_process_memory_notices_a_large_tensor():
    trim()  # else the tensor may take what earlier tests gave back to the heap
    before = process_memory()
    tensor = torch.ones(25_000_000)
    assert process_memory() - before > 0.9 * tensor.nbytes


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resets the peak through /proc")
@pytest.mark.parametrize(("batch", "micro"), [(8, 8), (8, 2), (8, 1)])
def test_a_steps_peak_stays_within_the_estimate(batch, micro):
    script = f"""
import re, torch
from unveil import create_model
from unveil.training.ema import Ema
from unveil.training.losses import Loss
from unveil.process import process_memory, trim
from unveil.training.micro_batch import saved_bytes, step_bytes
from unveil.training.optimizer import build_optimizer
from unveil.training.recipe import OptimSection
from unveil.training.step import Clock, accumulate_gradients
network, loss = create_model("cu_mamba_small").train(), Loss.parse("l1")
per_image = saved_bytes(network, loss, 128)
open("/proc/self/clear_refs", "w").write("5")
before = process_memory()
ema, optimizer = Ema(network, 0.9), build_optimizer(network, OptimSection(lr=1e-4, loss="l1"))
x = torch.rand({batch}, 3, 128, 128)
for _ in range(2):
    optimizer.zero_grad()
    pair = {{"degraded": x, "clean": x}}
    accumulate_gradients(network, pair, loss, micro_batch={micro}, clock=Clock())
    optimizer.step()
    ema.update_parameters(network)
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
print((peak - before) / step_bytes(network, per_image, {micro}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 0.4 < float(done.stdout) < 1.1
