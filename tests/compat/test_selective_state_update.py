import torch

from unveil.compat.selective_state_update import selective_state_update


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
