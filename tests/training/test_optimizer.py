"""Weight decay spares what it would hurt, and the fused step is AdamW's."""

import pytest
import torch

from unveil import create_model
from unveil.training.optimizer import build_optimizer, set_rate
from unveil.training.recipe import OptimSection

OPTIM = OptimSection(lr=1e-2, loss="l1", weight_decay=0.1)


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
    networks = [create_model("cu_mamba_tiny"), create_model("cu_mamba_tiny")]
    networks[1].load_state_dict(networks[0].state_dict())
    ours = build_optimizer(networks[0], OPTIM)
    groups = networks[1].parameter_groups(weight_decay=0.1)
    plain = torch.optim.AdamW(groups, lr=1e-2, foreach=False)
    for _ in range(3):
        x = torch.rand(1, 3, 8, 8)
        for network, optimizer in zip(networks, (ours, plain), strict=True):
            optimizer.zero_grad()
            network(x).square().sum().backward()
            optimizer.step()
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_groups_own_factor_scales_its_rate():
    network = create_model("cu_mamba_tiny")
    optimizer = build_optimizer(network, OPTIM.model_copy(update={"ssm_rate": 0.1}))
    set_rate(optimizer, 2.0)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    slow = ("A_log", "dt_bias", "dt_weight", "x_proj", "B_proj", "C_proj", "dt_proj", "describe_")
    for name, parameter in network.named_parameters():
        sets_the_recurrence = any(f".{part}" in name for part in slow)
        assert rate[id(parameter)] == pytest.approx(0.2 if sets_the_recurrence else 2.0), name
