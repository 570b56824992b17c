"""The obvious loop: by hand, and its gradients numerically."""

import time

import torch

from unveil.ops import selective_scan


def test_two_steps_by_hand():
    u = torch.tensor([[[2.0, 3.0]]], dtype=torch.float64)
    delta = torch.tensor([[[0.5, 0.25]]], dtype=torch.float64)
    A = torch.tensor([[-1.0]], dtype=torch.float64)
    B = torch.tensor([[[4.0, 5.0]]], dtype=torch.float64)
    C = torch.tensor([[[6.0, 7.0]]], dtype=torch.float64)
    D = torch.tensor([0.5], dtype=torch.float64)
    h1 = 0.5 * 4 * 2
    h2 = torch.exp(torch.tensor(-0.25, dtype=torch.float64)) * h1 + 0.25 * 5 * 3
    y, last = selective_scan(u, delta, A, B, C, D, return_last_state=True, backend="reference")
    expected = torch.stack([torch.tensor(6 * h1 + 1.0).double(), 7 * h2 + 1.5])
    torch.testing.assert_close(y[0, 0], expected)
    torch.testing.assert_close(last[0, 0, 0], h2)


def test_gradients_match_finite_differences(sequence):
    case = sequence(1, 2, 4, 2, groups=1)
    names = [name for name, value in case.items() if isinstance(value, torch.Tensor)]
    fixed = {name: value for name, value in case.items() if name not in names}

    def scan(*values):
        given = dict(zip(names, values, strict=True)) | fixed
        return selective_scan(**given, return_last_state=True, backend="reference")

    assert torch.autograd.gradcheck(scan, [case[name].requires_grad_() for name in names])


def test_backward_is_not_quadratic_in_length(sequence, results):
    def seconds(length):
        case = sequence(1, 4, length, 2)
        times = []
        for _ in range(3):
            start = time.process_time()
            results(case, "reference", torch.float32)
            times.append(time.process_time() - start)
        return min(times)

    seconds(64)
    # Eight times the tokens: 64 times the work if quadratic.
    assert seconds(4096) / seconds(512) < 24
