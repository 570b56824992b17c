import pytest
import torch
import torch.nn.functional as F

from unveil.layers.mamba import MambaBlock, VisionSSM
from unveil.layers.scan import CausalConv, ImageScan, initial_a_log, initial_delta_bias

ORDERS = ("row", "column", "row_reversed", "column_reversed")


def test_a_starts_at_minus_one_to_minus_n_and_delta_log_uniform():
    torch.testing.assert_close(initial_a_log(2, 3).exp(), torch.tensor([[1.0, 2, 3]] * 2))
    delta = F.softplus(initial_delta_bias(10_000).double())
    assert 0.99e-3 < delta.min() < delta.max() < 1.01e-1
    assert abs(delta.log().mean() - torch.tensor(1e-2).log()) < 0.05


@pytest.mark.parametrize("order", ORDERS)
def test_what_comes_later_in_the_order_changes_nothing_before(order):
    scan, conv = ImageScan(6, 2, orders=(order,)), CausalConv(6, 4, order)
    x = torch.randn(1, 3, 4, 6)
    changed = x.clone()
    row, column = 1, 2
    changed[:, row, column] += 1
    rank = (
        torch.arange(12).view(3, 4) if order.startswith("row") else torch.arange(12).view(4, 3).t()
    )
    rank = -rank if order.endswith("reversed") else rank
    before, after = rank < rank[row, column], rank >= rank[row, column]
    for layer in (scan, conv):
        moved = (layer(x) - layer(changed))[0].abs().sum(-1)
        assert moved[before].max() == 0
        assert moved[row, column] > 0
        assert moved[after].count_nonzero() > 1


def test_the_row_order_is_mambas_recurrence_over_the_flattened_image():
    scan = ImageScan(4, 3).double()
    u = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    tokens = u.flatten(1, 2)
    low_rank, B, C = scan.x_proj(tokens).split([scan.dt_rank, 3, 3], -1)
    delta = F.softplus(low_rank @ scan.dt_weight[0].t() + scan.dt_bias[0])
    state, expected = torch.zeros(2, 4, 3, dtype=torch.float64), []
    for t in range(15):
        step = delta[:, t, :, None]
        state = torch.exp(-step * scan.A_log[0].exp()) * state
        state = state + step * B[:, t, None] * tokens[:, t, :, None]
        expected.append((state * C[:, t, None]).sum(-1) + scan.D[0] * tokens[:, t])
    torch.testing.assert_close(scan(u), torch.stack(expected, 1).view_as(u))


def test_normalised_b_and_c_do_not_depend_on_how_large_their_projection_is():
    scan = ImageScan(6, 4, orders=("row", "column"), normalize=True).double()
    u = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    before = scan(u)
    with torch.no_grad():
        by_order = scan.x_proj.weight.view(2, scan.dt_rank + 8, 6)
        by_order[:, scan.dt_rank : scan.dt_rank + 4] *= 50
        by_order[:, scan.dt_rank + 4 :] *= 20
    torch.testing.assert_close(scan(u), before, rtol=1e-3, atol=1e-5)


def test_a_normalised_scan_starts_as_the_mean_of_its_states_low_passes():
    scan = ImageScan(4, 3, normalize=True).double()
    with torch.no_grad():
        scan.x_proj.weight.zero_()
        scan.dt_weight.zero_()
    u = torch.randn(1, 2, 5, 4, dtype=torch.float64)
    step, A = F.softplus(scan.dt_bias[0]), scan.A_log[0].exp()
    tokens, state, expected = u.flatten(1, 2)[0], torch.zeros(4, 3, dtype=torch.float64), []
    for token in tokens:
        state = torch.exp(-step[:, None] * A) * state + (step * token)[:, None]
        expected.append(state.mean(-1) + token)
    torch.testing.assert_close(scan(u), torch.stack(expected).view_as(u))


@pytest.mark.parametrize("orders", [("row",), ("column_reversed",), ORDERS])
def test_blocks_keep_shapes_and_every_parameter_has_a_gradient(orders):
    for block in (MambaBlock(8, d_state=2, orders=orders), VisionSSM(8, d_state=2, orders=orders)):
        y = block(torch.randn(2, 4, 6, 8))
        assert y.shape == (2, 4, 6, 8)
        y.square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in block.parameters())


def test_mamba_block_has_the_published_number_of_parameters():
    d, n, r = 48, 16, 3
    inner = 2 * d
    expected = d * 2 * inner + 4 * inner + inner + inner * (r + 2 * n) + r * inner + inner
    expected += inner * n + inner + inner * d
    assert sum(p.numel() for p in MambaBlock(d).parameters()) == expected


def test_smoothing_leaves_the_skip_sharp_and_starts_as_two_box_filters():
    orders = ("row", "column")
    smoothed = ImageScan(6, 4, orders=orders, normalize=True, smooth=True).double()
    plain = ImageScan(6, 4, orders=orders, normalize=True).double()
    plain.load_state_dict(smoothed.state_dict(), strict=False)
    u = torch.randn(1, 7, 9, 6, dtype=torch.float64)
    skip = u * plain.D.sum(0)
    states = (plain(u) - skip).permute(0, 3, 1, 2)
    for _ in range(2):
        states = F.avg_pool2d(F.pad(states, (1, 1, 1, 1)), 3, 1)
    torch.testing.assert_close(smoothed(u), states.permute(0, 2, 3, 1) + skip)
