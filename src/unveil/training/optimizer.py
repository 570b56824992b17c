"""AdamW, or Muon with AdamW, and weight decay only where it belongs."""

from typing import Any

import torch

# The first step of torch's optimisers imports it; so its memory counts as in use before that step.
import torch._dynamo
from torch import nn

from unveil.models.base import RestorationModel
from unveil.training.muon import MuonAdamW
from unveil.training.recipe import OptimSection

_THIN = 16


def build_optimizer(network: RestorationModel, optim: OptimSection) -> torch.optim.AdamW:
    """Build the optimiser over a network's trainable parameters.

    AdamW's fused form is one kernel for all parameters; fp16 takes one per operation (`foreach`),
    whose gradients can be unscaled and clipped before the step.

    Args:
        network: The network to train.
        optim: Rates, decays and precision; the schedule sets the learning rate every step.
    """
    groups = network.parameter_groups(
        weight_decay=optim.weight_decay, ssm_learning_rate=optim.ssm_rate
    )
    form = {"foreach": True} if optim.precision == "fp16" else {"fused": True}
    if optim.name == "muon":
        parts = [part for group in groups for part in _split_matrices(group, optim.matrix_rate)]
        return MuonAdamW(parts, lr=optim.lr, betas=optim.betas, **form)
    return torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, **form)


def _split_matrices(group: dict[str, Any], rate: float) -> list[dict[str, Any]]:
    """Mark the weight matrices for Muon; thin ones have few singular values to balance."""
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
    """Set the learning rate of every group, times the group's own factor `lr_scale`.

    Args:
        optimizer: From `build_optimizer`.
        rate: Learning rate.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
