"""Blocks of the stand-in under PyTorch's tracers and function transforms."""

import pytest
import torch

from unveil.compat.mamba2 import Mamba2
from unveil.compat.mamba_simple import Mamba
from unveil.compat.selective_scan_interface import SelectiveScanFn, selective_scan_ref
from unveil.compat.ssd_combined import mamba_chunk_scan_combined, ssd_chunk_scan_combined_ref

# The tracer warns of every shape that is looked at.
pytestmark = pytest.mark.filterwarnings("ignore")

BLOCKS = [
    lambda: Mamba(8, d_state=4),
    lambda: Mamba(8, d_state=4, bimamba_type="v2"),
    lambda: Mamba2(8, d_state=4, headdim=8),
]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_traced_block_gives_what_the_block_gives(block, mode):
    net = block().eval()
    with mode():
        traced = torch.jit.trace(net, torch.rand(1, 70, 8))
    x = torch.rand(1, 70, 8)
    with torch.no_grad():
        torch.testing.assert_close(traced(x), net(x))


def transforms(function, x):
    return (
        torch.func.grad(lambda v: function(v).sum())(x),
        torch.func.vmap(function)(x[None])[0],
        torch.func.jvp(function, (x,), (torch.ones_like(x),))[1],
    )


def test_function_transforms_give_what_they_give_of_the_loop():
    u, A, B = torch.rand(1, 2, 5), -torch.rand(2, 3), torch.rand(1, 3, 5)
    found = transforms(lambda v: SelectiveScanFn.apply(v, u, A, B, B), u)
    expected = transforms(lambda v: selective_scan_ref(v, u, A, B, B), u)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    x, dt, A, B = (
        torch.rand(1, 5, 2, 4),
        torch.rand(1, 5, 2),
        -torch.rand(2),
        torch.rand(1, 5, 1, 3),
    )
    found = transforms(lambda v: mamba_chunk_scan_combined(v, dt, A, B, B), x)
    expected = transforms(lambda v: ssd_chunk_scan_combined_ref(v, dt, A, B, B), x)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
