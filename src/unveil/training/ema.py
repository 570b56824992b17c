"""Exponential moving average of a network's weights: what is validated and exported."""

from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from unveil.models.base import RestorationModel

_Tensors = tuple[Tensor, ...] | list[Tensor]


class Ema(AveragedModel):
    """`AveragedModel` whose decay starts low, so that the average forgets the random start.

    After s steps it is ``min(decay, (1 + s) / (10 + s))``; buffers are copied.

    Args:
        network: The network to average; on its final device.
        decay: Weight of the old average once warmed up, in [0, 1); 0 copies.
    """

    def __init__(self, network: RestorationModel, decay: float) -> None:
        def update(averages: _Tensors, weights: _Tensors, steps: Tensor | int) -> None:
            warmed = (1 + int(steps)) / (10 + int(steps))
            torch._foreach_lerp_(averages, weights, 1.0 - min(decay, warmed) if decay else 1.0)

        super().__init__(network, multi_avg_fn=update)
        self.set_step(0)
        self.eval().requires_grad_(False)

    def set_step(self, step: int) -> None:
        """Set the number of optimiser steps done."""
        # At 0 AveragedModel would copy the weights, which the constructor has done.
        self.n_averaged.fill_(step + 1)

    @property
    def network(self) -> RestorationModel:
        """The averaged network, in evaluation mode."""
        return cast("RestorationModel", self.module)
