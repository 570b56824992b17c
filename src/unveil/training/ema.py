"""Exponential moving average of a network's weights: what is validated and exported."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Ema(Generic[Network]):
    """A second copy of a network whose weights follow the first one's slowly.

    The decay starts low, `(1 + step) / (10 + step)`, so that the average forgets the random start.

    Attributes:
        network: The averaged copy, in evaluation mode.
    """

    def __init__(self, network: Network, decay: float) -> None:
        """Copy the network to follow.

        Args:
            network: The network to follow.
            decay: Share of the average kept per step once warmed up, in [0, 1); 0 copies.
        """
        self.network: Network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self._pair(network)

    def _pair(self, network: Network) -> None:
        """Line up the two networks' tensors once, so that an update is one call for all."""
        own, followed = self.network.state_dict(), network.state_dict()
        averaged = [name for name, _ in network.named_parameters()]
        self._averages = [own[name] for name in averaged]
        self._sources = [followed[name] for name in averaged]
        self._copies: list[tuple[Tensor, Tensor]] = [
            (own[name], followed[name]) for name in own if name not in set(averaged)
        ]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the followed network's weights; its buffers are copied.

        Args:
            step: Optimiser steps done so far, from 1.
        """
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        torch._foreach_lerp_(self._averages, self._sources, 1.0 - decay)
        for average, source in self._copies:
            average.copy_(source)

    def to(self, device: torch.device, network: Network) -> None:
        """Move to a device; `network` is the followed network, already there."""
        self.network.to(device)
        self._pair(network)
