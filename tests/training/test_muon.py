"""Muon: orthogonal updates for matrices, AdamW for the rest."""

import copy

import torch
from torch import nn

from unveil import create_model
from unveil.training.muon import MuonAdamW, orthogonalize
from unveil.training.optimizer import build_optimizer
from unveil.training.recipe import OptimSection


def test_orthogonalize_keeps_the_singular_vectors() -> None:
    matrices = torch.randn(3, 24, 40, dtype=torch.float64)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = left.mT @ orthogonalize(matrices) @ right.mT
    off_diagonal = inner - torch.diag_embed(inner.diagonal(dim1=-2, dim2=-1))
    assert off_diagonal.abs().max() < 1e-9
    assert inner.diagonal(dim1=-2, dim2=-1).min() > 0.6


def test_a_zero_gradient_moves_nothing() -> None:
    assert torch.equal(orthogonalize(torch.zeros(1, 16, 16)), torch.zeros(1, 16, 16))


def test_one_step_has_the_size_of_an_adamw_step() -> None:
    weight = nn.Parameter(torch.zeros(32, 64))
    optimizer = MuonAdamW([{"params": [weight], "muon": True}], lr=0.1, weight_decay=0.0)
    weight.grad = torch.randn(32, 64)
    optimizer.step()
    # 0.2 is the root mean square of a typical AdamW update, in units of the learning rate.
    assert 0.7 * 0.02 < float(weight.detach().square().mean().sqrt()) < 1.3 * 0.02


def test_vectors_are_stepped_as_by_adamw() -> None:
    network = create_model("cu_mamba_tiny")
    twin = copy.deepcopy(network)
    optim = {"lr": 1e-2, "loss": "l1", "weight_decay": 0.1}
    muon = build_optimizer(network, OptimSection(name="muon", **optim))
    adamw = build_optimizer(twin, OptimSection(name="adamw", **optim))
    matrix = "latent.blocks.0.blocks.0.expand.weight"
    for model, optimizer in ((network, muon), (twin, adamw)):
        model.get_parameter("head.bias").grad = torch.ones_like(model.head.bias)
        model.get_parameter(matrix).grad = torch.randn(
            model.get_parameter(matrix).shape, generator=torch.Generator().manual_seed(0)
        )
        optimizer.step()
    assert torch.equal(network.head.bias, twin.head.bias)
    assert not torch.equal(network.get_parameter(matrix), twin.get_parameter(matrix))


def test_a_stored_state_goes_on_bit_for_bit() -> None:
    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(1)
        network = create_model("cu_mamba_tiny")
        return network, build_optimizer(network, OptimSection(name="muon", lr=1e-2, loss="l1"))

    def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            inputs = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            network(inputs).square().mean().backward()
            optimizer.step()

    straight, optimizer = make()
    train(straight, optimizer, range(6))
    resumed, first = make()
    train(resumed, first, range(3))
    _, second = make()
    second = build_optimizer(resumed, OptimSection(name="muon", lr=1e-2, loss="l1"))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(resumed, second, range(3, 6))
    for ours, theirs in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(ours, theirs)
