"""Passes over parts of a batch add up to the gradient of the whole."""

import pytest
import torch
from torch import nn

from unveil.training.losses import Loss
from unveil.training.step import Clock, accumulate_gradients


def run(micro_batch, loss="charbonnier + 0.1*fft"):
    torch.manual_seed(5)
    network = nn.Conv2d(3, 3, 3, padding=1).double()
    batch = {
        "degraded": torch.rand(5, 3, 8, 8, dtype=torch.float64),
        "clean": torch.rand(5, 3, 8, 8, dtype=torch.float64),
    }
    clock = Clock()
    value = accumulate_gradients(
        network, batch, Loss.parse(loss), micro_batch=micro_batch, clock=clock
    )
    return network, value, clock


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 5, 9])
def test_any_split_has_the_gradient_of_the_whole(micro_batch):
    whole, loss, _ = run(5, "l1 + psnr")
    parts, value, _ = run(micro_batch, "l1 + psnr")
    torch.testing.assert_close(value, loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(parts.weight.grad, whole.weight.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("micro_batch", [1, 2, 5])
def test_the_loss_of_a_task_s_images_is_multiplied(micro_batch):
    network, images = nn.Conv2d(3, 3, 3, padding=1).double(), torch.rand(2, 5, 3, 8, 8).double()
    tasks = ["haze", "noise", "haze", "rain", "noise"]
    value = accumulate_gradients(
        network,
        {"degraded": images[0], "clean": images[1], "task": tasks},
        Loss.parse("mse + psnr"),
        micro_batch=micro_batch,
        clock=Clock(),
        task_loss={"haze": 0.25, "rain": 3.0},
    )
    got = network.weight.grad.clone()
    network.zero_grad()
    loss = Loss.parse("mse + psnr")
    factors = [0.25, 1.0, 0.25, 3.0, 1.0]
    alone = [
        loss(network(degraded[None]), clean[None]) for degraded, clean in images.transpose(0, 1)
    ]
    expected = sum(factor * one for factor, one in zip(factors, alone, strict=True)) / 5
    expected.backward()
    torch.testing.assert_close(value, expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(got, network.weight.grad, rtol=1e-10, atol=1e-14)


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
        Loss.parse("l1"),
        micro_batch=2,
        clock=Clock(),
        backward=lambda loss: (entered.append("backward"), loss.backward()),
        unsynchronised=local,
    )
    assert entered == ["in", "backward", "out", "in", "backward", "out", "backward"]


def test_the_clock_keeps_parts_apart():
    _, _, clock = run(2)
    assert set(clock.seconds) == {"forward", "backward"}
    assert all(seconds > 0 for seconds in clock.take().values())
    assert clock.take() == {}
