"""Exponential moving average of a network's weights: what is validated and exported."""

import copy

import torch
from torch import Tensor, nn


class Ema:
    """A second copy of a network whose weights follow the first one's slowly.

    The decay starts low, `(1 + step) / (10 + step)`, so that the average forgets the random start.

    Args:
        network: The network to follow; copied.
        decay: Share of the average kept per step once warmed up, in [0, 1). 0 copies the weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self._pairs(network)

    def _pairs(self, network: nn.Module) -> None:
        own, other = self.network.state_dict(), network.state_dict(keep_vars=True)
        names = dict(network.named_parameters())
        self._averages = [own[name] for name in names]
        self._sources: list[Tensor] = [other[name] for name in names]
        buffers = [name for name in own if name not in names]
        self._copies = [(own[name], other[name]) for name in buffers]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the followed network's weights.

        Args:
            step: Optimiser steps done so far, from 1.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, [s.detach() for s in self._sources], 1.0 - decay)
        for average, source in self._copies:
            average.copy_(source)

    def to(self, device: torch.device, network: nn.Module) -> None:
        """Move to a device; `network` is the followed network, already there."""
        self.network.to(device)
        self._pairs(network)
