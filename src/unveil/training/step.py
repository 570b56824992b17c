"""One optimiser step's arithmetic: micro-batches, loss, gradients, norm."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unveil.training.losses import Loss

Batch = dict[str, Any]


@dataclass
class Clock:
    """Seconds spent per part of a step, summed since the last `take`.

    On a GPU the parts are what the host spends; `synchronise` makes them the device's.
    """

    synchronise: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a part."""
        start = time.perf_counter()
        yield
        if self.synchronise and torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def take(self) -> dict[str, float]:
        """Return the sums and start again from zero."""
        taken, self.seconds = self.seconds, {}
        return taken


def accumulate_gradients(
    network: Callable[[Tensor], Tensor],
    batch: Batch,
    loss: Loss,
    *,
    micro_batch: int,
    clock: Clock,
    backward: Callable[[Tensor], None] = torch.Tensor.backward,
    unsynchronised: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """Add the gradient of a batch's mean loss, in passes of at most `micro_batch` images.

    Args:
        network: Restores (b, 3, h, w).
        batch: Holds `degraded` and `clean`, each (b, 3, h, w).
        loss: Mean over images.
        micro_batch: Images per pass.
        clock: Takes the time of `forward` and `backward`.
        backward: How a loss is differentiated.
        unsynchronised: Context in which processes keep their gradients to themselves; entered for
            every pass but the last.

    Returns:
        The batch's mean loss, detached.
    """
    degraded, clean = batch["degraded"], batch["clean"]
    images = len(degraded)
    total: Tensor = degraded.new_zeros(())
    for start in range(0, images, micro_batch):
        part = slice(start, start + micro_batch)
        last = start + micro_batch >= images
        with nullcontext() if last else unsynchronised():
            with clock.part("forward"):
                share = len(degraded[part]) / images
                value = loss(network(degraded[part]), clean[part]) * share
            with clock.part("backward"):
                backward(value)
        total = total + value.detach()
        # else the next pass would begin while this one's graph is still held
        del value
    return total


def gradient_norm(network: nn.Module, clip: float | None) -> float:
    """Return the gradient's norm, having scaled it down to `clip` where that is smaller."""
    parameters = [p for p in network.parameters() if p.grad is not None]
    if clip is not None:
        return float(torch.nn.utils.clip_grad_norm_(parameters, clip))
    grads = [p.grad for p in parameters if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(grads)) if grads else math.nan
