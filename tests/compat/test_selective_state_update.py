import pytest
import torch
import torch.nn.functional as F

from unveil.compat.selective_state_update import selective_state_update
from unveil.errors import InputError


def test_steps_one_after_another_are_the_scan(plain_scan):
    b, d, n, length, groups = 2, 6, 4, 9, 3
    u, delta, z = torch.randn(3, b, d, length)
    A, D, bias = -torch.rand(d, n), torch.randn(d), torch.randn(d)
    B, C = torch.randn(2, b, groups, n, length)
    state = torch.zeros(b, d, n)
    steps = [
        selective_state_update(
            *(state, u[..., t], delta[..., t], A, B[..., t], C[..., t], D, z[..., t], bias, True)
        )
        for t in range(length)
    ]
    given = (t.double() for t in (u, delta, A, B, C, D, z, bias))
    expected, last = plain_scan(*given, True)
    # fp32 rounding over nine tokens.
    torch.testing.assert_close(torch.stack(steps, -1).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state.double(), last, rtol=1e-5, atol=1e-5)


def test_heads_groups_and_rows_of_the_state():
    state = torch.randn(5, 4, 3, 2, dtype=torch.float64)
    x, dt, z = torch.randn(3, 3, 4, 3, dtype=torch.float64)
    A, D, bias = (
        -torch.rand(4, 3, 2).double(),
        torch.randn(4, 3).double(),
        torch.randn(4, 3).double(),
    )
    B, C = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    rows = torch.tensor([4, 0, 2])
    before = state.clone()
    y = selective_state_update(
        state, x, dt, A, B, C, D, z, bias, dt_softplus=True, state_batch_indices=rows
    )
    step = F.softplus(dt + bias)[..., None]
    into, out_of = (v.repeat_interleave(2, 1)[:, :, None] for v in (B, C))
    after = torch.exp(step * A) * before[rows] + step * x[..., None] * into
    torch.testing.assert_close(state[rows], after)
    torch.testing.assert_close(state[[1, 3]], before[[1, 3]])
    torch.testing.assert_close(y, ((after * out_of).sum(-1) + D * x) * F.silu(z))


def test_a_negative_row_marks_padding_which_has_no_state():
    state, x, dt = torch.randn(2, 4, 3), torch.randn(3, 4), torch.rand(3, 4)
    A, B, C = -torch.rand(4, 3), torch.randn(3, 3), torch.randn(3, 3)
    before, rows = state.clone(), torch.tensor([1, -1, 0])
    y = selective_state_update(state, x, dt, A, B, C, state_batch_indices=rows)
    alone, real = before.clone(), torch.tensor([0, 2])
    expected = selective_state_update(
        alone, x[real], dt[real], A, B[real], C[real], state_batch_indices=rows[real]
    )
    torch.testing.assert_close(y[real], expected)
    assert (y[1] == 0).all()
    torch.testing.assert_close(state, alone)


def test_wrong_shapes_are_named():
    state, x = torch.zeros(1, 4, 2), torch.zeros(1, 3)
    with pytest.raises(InputError, match=r"x has shape \(1, 3\), expected \(1, 4\)"):
        selective_state_update(state, x, x, state[0], torch.zeros(1, 2), torch.zeros(1, 2))
