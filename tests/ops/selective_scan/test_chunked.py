"""The backend of plain PyTorch operations."""

import pytest
import torch

from unveil.ops import selective_scan, selective_scan_2d
from unveil.ops.selective_scan import chunked

ORDERS = ("row", "column", "row_reversed", "column_reversed")


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 256, 257, 600])
@pytest.mark.parametrize("layout", ["bld", "bdl"])
def test_values_and_gradients_at_any_length(length, layout, sequence, agrees_with_float64):
    agrees_with_float64(sequence(2, 5, length, 4, layout=layout), "torch")


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups_share_projections(groups, sequence, agrees_with_float64):
    agrees_with_float64(sequence(2, 8, 40, 4, groups=groups), "torch")


def test_image_orders(image, agrees_with_float64):
    agrees_with_float64(image(2, 5, 7, 6, 4, ORDERS), "torch")
    agrees_with_float64(image(2, 5, 7, 6, 4, ORDERS[:2], 3), "torch")


def test_strong_decay_over_a_long_sequence_stays_finite():
    # Cumulative decays underflow within a block: whoever divides by them gets infinities.
    u = torch.randn(1, 1, 2000)
    B = torch.randn(1, 4, 2000)
    A = -torch.full((1, 4), 50.0)
    y = selective_scan(u, torch.ones_like(u), A, B, B, backend="torch")
    torch.testing.assert_close(y, u * (B * B).sum(1, keepdim=True))


def test_keeps_one_state_per_chunk_for_the_backward(sequence):
    case = sequence(1, 8, 4 * chunked.CHUNK, 16)
    case = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in case.items()}
    case["u"].requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        selective_scan(**case, backend="torch")
    # No tensor over tokens and states survives the forward.
    assert max(x.numel() for x in kept) <= 16 * case["u"].shape[1]


def test_export_traces_it_at_a_fixed_size(image):
    case = image(1, 4, 5, 6, 4, ORDERS[:2])
    case = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in case.items()}
    u = case.pop("u")

    class Scan(torch.nn.Module):
        def forward(self, u):
            return selective_scan_2d(u, **case, backend="torch")

    program = torch.export.export(Scan(), (u,))
    torch.testing.assert_close(program.module()(u), selective_scan_2d(u, **case))
