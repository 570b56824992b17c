"""Passes over parts of a batch add up to the gradient of the whole."""

import pytest
import torch
from torch import nn

from unveil.training.losses import parse_loss
from unveil.training.step import Clock, accumulate_gradients, gradient_norm


def run(micro_batch, loss="charbonnier + 0.1*fft"):
    torch.manual_seed(5)
    network = nn.Conv2d(3, 3, 3, padding=1).double()
    batch = {
        "degraded": torch.rand(5, 3, 8, 8, dtype=torch.float64),
        "clean": torch.rand(5, 3, 8, 8, dtype=torch.float64),
    }
    clock = Clock()
    value = accumulate_gradients(
        network, batch, parse_loss(loss), micro_batch=micro_batch, clock=clock
    )
    return network, value, clock


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 5, 9])
def test_any_split_has_the_gradient_of_the_whole(micro_batch):
    whole, loss, _ = run(5, "l1 + psnr")
    parts, value, _ = run(micro_batch, "l1 + psnr")
    torch.testing.assert_close(value, loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(parts.weight.grad, whole.weight.grad, rtol=1e-10, atol=1e-14)


def test_gradients_stay_local_in_all_passes_but_the_last():
    from contextlib import contextmanager

    entered = []

    @contextmanager
    def local():
        entered.append("in")
        yield
        entered.append("out")

    images = {"degraded": torch.rand(5, 3, 4, 4), "clean": torch.rand(5, 3, 4, 4)}
    accumulate_gradients(
        nn.Conv2d(3, 3, 1),
        images,
        parse_loss("l1"),
        micro_batch=2,
        clock=Clock(),
        backward=lambda loss: (entered.append("backward"), loss.backward()),
        unsynchronised=local,
    )
    assert entered == ["in", "backward", "out", "in", "backward", "out", "backward"]


def test_clipping_scales_to_the_norm_and_reports_the_former_one():
    network, _, _ = run(5)
    before = [p.grad.clone() for p in network.parameters()]
    norm = torch.cat([g.flatten() for g in before]).norm().item()
    assert gradient_norm(network, None) == pytest.approx(norm)
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), before, strict=True))
    assert gradient_norm(network, norm / 4) == pytest.approx(norm)
    assert gradient_norm(network, None) == pytest.approx(norm / 4, rel=1e-4)
    assert gradient_norm(network, 10.0) == pytest.approx(norm / 4, rel=1e-4)
    assert gradient_norm(network, None) == pytest.approx(norm / 4, rel=1e-4)


def test_the_clock_keeps_parts_apart():
    _, _, clock = run(2)
    assert set(clock.seconds) == {"forward", "backward"}
    assert all(seconds > 0 for seconds in clock.take().values())
    assert clock.take() == {}
