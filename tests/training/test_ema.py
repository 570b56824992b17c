"""The average follows the weights, and forgets the start."""

import pytest
import torch
from torch import nn

from unveil.training.ema import Ema


def test_the_average_is_the_recursion_by_hand():
    network = nn.Linear(3, 2)
    ema = Ema(network, decay=0.9)
    expected = {name: value.double().clone() for name, value in network.state_dict().items()}
    for step in range(1, 30):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        ema.update_parameters(network)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in ema.network.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_no_decay_copies():
    network = nn.Linear(3, 2)
    ema = Ema(network, decay=0.0)
    with torch.no_grad():
        network.weight.fill_(7.0)
    ema.update_parameters(network)
    assert torch.equal(ema.network.weight, network.weight)


def test_buffers_are_copied_not_averaged():
    network = nn.BatchNorm1d(2)
    ema = Ema(network, decay=0.5)
    network(torch.randn(8, 2))
    ema.update_parameters(network)
    assert torch.equal(ema.network.running_mean, network.running_mean)
    assert ema.network.num_batches_tracked.item() == 1


def test_the_average_needs_no_gradient_and_is_in_evaluation_mode():
    ema = Ema(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), decay=0.9)
    assert not ema.network.training
    assert not any(parameter.requires_grad for parameter in ema.network.parameters())


@pytest.mark.parametrize("loaded", ["network", "average"])
def test_loading_a_state_keeps_the_two_paired(loaded):
    network = nn.Linear(2, 2)
    ema = Ema(network, decay=0.0)
    target = network if loaded == "network" else ema.network
    target.load_state_dict({name: value + 1 for name, value in target.state_dict().items()})
    ema.update_parameters(network)
    assert torch.equal(ema.network.weight, network.weight)
