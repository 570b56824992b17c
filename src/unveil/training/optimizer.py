"""AdamW, or Muon with AdamW, and weight decay only where it belongs."""

from typing import Any

import torch
from torch import nn

from unveil.models.base import RestorationModel
from unveil.training.muon import MuonAdamW
from unveil.training.recipe import OptimSection

_THIN = 16
# Parameters of the state-space recurrence: decay would pull its time constants towards zero.
_RECURRENCE = ("A_log", "A_logs", "D", "Ds", "dt_bias", "delta_bias")


def decayed(name: str, parameter: nn.Parameter) -> bool:
    """Say whether weight decay applies to a parameter.

    Norms, biases and other vectors, the recurrence's A, D and Δ-bias, and parameters a model marks
    with the attribute `_no_weight_decay` are left alone.

    Args:
        name: Dotted name of the parameter.
        parameter: The parameter.

    >>> decayed("block.proj.weight", nn.Parameter(torch.zeros(4, 4)))
    True
    >>> decayed("block.ssm.A_log", nn.Parameter(torch.zeros(4, 4)))
    False
    """
    leaf = name.rsplit(".", 1)[-1]
    marked = getattr(parameter, "_no_weight_decay", False)
    return parameter.ndim > 1 and not marked and leaf not in _RECURRENCE and "bias" not in leaf


def parameter_groups(
    network: nn.Module, weight_decay: float, ssm_rate: float
) -> list[dict[str, Any]]:
    """Sort a network's parameters; a network that sorts its own has the say.

    Args:
        network: One of the package's models, or any other module.
        weight_decay: Decoupled weight decay of the parameters it applies to.
        ssm_rate: Factor on the learning rate of what sets the recurrence's Δ, A, B and C, where the
            network says which those are.
    """
    if isinstance(network, RestorationModel):
        groups = network.parameter_groups(weight_decay=weight_decay, ssm_learning_rate=ssm_rate)
    else:
        named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        groups = [
            {
                "params": [p for n, p in named if decayed(n, p) == decays],
                "weight_decay": weight_decay if decays else 0.0,
                "decays": decays,
            }
            for decays in (True, False)
        ]
    return [group for group in groups if group["params"]]


def build_optimizer(network: nn.Module, optim: OptimSection) -> torch.optim.AdamW:
    """Build the optimiser over a network's trainable parameters.

    AdamW's fused form is one kernel for all parameters; fp16 takes one per operation (`foreach`),
    whose gradients can be unscaled and clipped before the step.

    Args:
        network: The network to train.
        optim: Rates, decays and precision; the schedule sets the learning rate every step.
    """
    groups = parameter_groups(network, optim.weight_decay, optim.ssm_rate)
    form = {"foreach": True} if optim.precision == "fp16" else {"fused": True}
    if optim.name == "muon":
        parts = [part for group in groups for part in _split_matrices(group, optim.matrix_rate)]
        return MuonAdamW(parts, lr=optim.lr, betas=optim.betas, **form)
    return torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, **form)


def _split_matrices(group: dict[str, Any], rate: float) -> list[dict[str, Any]]:
    """Give Muon the weight matrices; in thin ones there is little to balance."""
    matrices = [p for p in group["params"] if _is_matrix(p) and group["decays"]]
    others = [p for p in group["params"] if not (_is_matrix(p) and group["decays"])]
    scale = group.get("lr_scale", 1.0) * rate
    parts = [
        group | {"params": matrices, "muon": True, "lr_scale": scale},
        group | {"params": others},
    ]
    return [part for part in parts if part["params"]]


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and min(parameter.shape) >= _THIN


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group, times the group's own factor `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
