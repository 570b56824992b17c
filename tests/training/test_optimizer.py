"""Weight decay spares what it would hurt, and the fused step is AdamW's."""

import pytest
import torch
from torch import nn

from unveil import create_model
from unveil.training.optimizer import build_optimizer, decayed, set_rate
from unveil.training.recipe import OptimSection

OPTIM = OptimSection(lr=1e-2, loss="l1", weight_decay=0.1)


def test_norms_biases_and_the_recurrence_are_not_decayed():
    marked = nn.Parameter(torch.zeros(2, 2))
    marked._no_weight_decay = True
    matrix, vector = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))
    assert decayed("proj.weight", matrix)
    for name, parameter in [
        ("norm.weight", vector),
        ("proj.bias", vector),
        ("ssm.A_log", matrix),
        ("ssm.D", matrix),
        ("ssm.delta_bias", matrix),
        ("proj.weight", marked),
    ]:
        assert not decayed(name, parameter), name


@pytest.mark.parametrize("model", ["cu_mamba_tiny", "mtair_tiny"])
def test_a_models_recurrence_is_not_decayed_and_nothing_is_left_out(model):
    network = create_model(model)
    optimizer = build_optimizer(network, OPTIM)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in network.named_parameters():
        leaf = name.rsplit(".", 1)[-1]
        if parameter.ndim < 2 or leaf in ("A_log", "D", "dt_bias"):
            assert decay[id(parameter)] == 0.0, name
    assert len(decay) == len(list(network.parameters()))
    assert 0.1 in decay.values()


def test_the_fused_step_equals_the_plain_one():
    networks = [nn.Linear(5, 4), nn.Linear(5, 4)]
    networks[1].load_state_dict(networks[0].state_dict())
    ours = build_optimizer(networks[0], OPTIM)
    plain = torch.optim.AdamW(
        [
            {"params": [networks[1].weight], "weight_decay": 0.1},
            {"params": [networks[1].bias], "weight_decay": 0.0},
        ],
        lr=1e-2,
        foreach=False,
    )
    for _ in range(5):
        x = torch.randn(3, 5)
        for network, optimizer in zip(networks, (ours, plain), strict=True):
            optimizer.zero_grad()
            network(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(networks[0].weight, networks[1].weight, rtol=1e-6, atol=1e-7)


def test_a_groups_own_factor_scales_its_rate():
    network = create_model("cu_mamba_tiny")
    optimizer = build_optimizer(network, OPTIM.model_copy(update={"ssm_rate": 0.1}))
    set_rate(optimizer, 2.0)
    rates = sorted({group["lr"] for group in optimizer.param_groups})
    assert rates == pytest.approx([0.2, 2.0])
