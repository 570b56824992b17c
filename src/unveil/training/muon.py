"""Muon for the weight matrices, AdamW for everything else, as one optimiser.

Muon replaces a matrix's averaged gradient by the nearest orthogonal matrix, so that every direction
moves at the same rate. On the small networks here it needs far fewer steps than AdamW alone.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the scale
of the update is that of Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982), 2.2;
quintics that change from round to round are the idea of Amsel et al., "The Polar Express" (arXiv
2505.16932).
"""

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

# Newton-Schulz iteration: odd quintics that send singular values towards 1. Each has the smallest
# largest error on what the rounds before it make of [0.003, 1]; found by linear programming.
_ROUNDS = (
    (8.3837, -24.7659, 18.3571),
    (4.0434, -3.0114, 0.5695),
    (3.5056, -2.6267, 0.5257),
    (2.4901, -1.8343, 0.4368),
)
# Rounding must not lift the largest singular value above 1, where the first quintic is steep.
_MARGIN = 1.01
# Narrower matrices take longer to convert than their products gain.
_BFLOAT16_WIDTH = 96
# The update's root mean square equals that of an AdamW step, so that both share a learning rate.
_MATCH_ADAMW = 0.2


def orthogonalize(matrices: Tensor) -> Tensor:
    """Send the singular values of matrices ``(k, m, n)`` of float32 or float64 to about 1.

    Returns:
        Same shape. Singular values above 0.003 of the matrix's norm come out between about 0.8 and
        1.2, smaller ones about 300 times as large as that share.

    >>> torch.manual_seed(0).initial_seed()
    0
    >>> values = torch.linalg.svdvals(orthogonalize(torch.randn(1, 16, 32)))
    >>> bool((values > 0.6).all() and (values < 1.3).all())
    True
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) * _MARGIN + 1e-7)
    x = x.to(_working_dtype(x))
    for a, b, c in _ROUNDS:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def _working_dtype(x: Tensor) -> torch.dtype:
    """Take bfloat16, which the iteration bears well, where its products are faster."""
    if x.dtype != torch.float32:
        return x.dtype
    faster = x.is_cuda or (min(x.shape[-2:]) >= _BFLOAT16_WIDTH and _multiplies_bfloat16())
    return torch.bfloat16 if faster else torch.float32


@cache
def _multiplies_bfloat16() -> bool:
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(bool(capabilities.get(name)) for name in ("amx_bf16", "avx512_bf16"))


class MuonAdamW(torch.optim.AdamW):
    """AdamW whose groups marked ``muon`` are stepped by Muon.

    Args:
        groups: Parameter groups; those with ``"muon": True`` hold matrices only.
        momentum: Decay of Muon's gradient average (Nesterov's form).
        **options: Of AdamW.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, momentum: float = 0.95, **options: Any
    ) -> None:
        marked = [{"muon": False, "momentum": momentum} | group for group in groups]
        super().__init__(marked, **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step, as AdamW does."""
        groups = self.param_groups
        # AdamW steps all of `param_groups`: for the call they hold its part alone.
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            value = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group["muon"]:
                self._step_matrices(group)
        return value

    def _step_matrices(self, group: dict[str, Any]) -> None:
        alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                alike[parameter.shape].append(parameter)
        for shape, parameters in alike.items():
            gradients = [p.grad for p in parameters if p.grad is not None]
            averages = [self._average(p) for p in parameters]
            torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, averages, group["momentum"])
            # Matrices of one shape go through the iteration together: fewer, larger products.
            updates = orthogonalize(torch.stack(ahead))
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            rate = group["lr"] * _MATCH_ADAMW * max(shape) ** 0.5
            torch._foreach_add_(parameters, list(updates.unbind()), alpha=-rate)

    def _average(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
            # AdamW looks for it in every state that it loads
            state["step"] = torch.zeros(())
        average: Tensor = state["momentum_buffer"]
        return average
