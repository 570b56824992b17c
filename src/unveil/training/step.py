"""One optimiser step's arithmetic: micro-batches, loss, gradients, norm."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def weighted_loss(loss: Loss, restored: Tensor, clean: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the mean over images of their losses, each times its weight.

    Args:
        loss: Mean over images.
        restored: (b, c, h, w), nominal range [0, 1].
        clean: (b, c, h, w), same shape and range.
        weights: One per image. They are not divided by their sum: an image pulls by its weight
            whatever it stands beside.
    """
    if set(weights) == {1.0}:
        return loss(restored, clean)
    total = restored.new_zeros(())
    for weight in sorted(set(weights)):
        alike = [i for i, other in enumerate(weights) if other == weight]
        total = total + (weight * len(alike) / len(weights)) * loss(restored[alike], clean[alike])
    return total


def accumulate_gradients(
    network: Callable[[Tensor], Tensor],
    batch: Batch,
    loss: Loss,
    *,
    micro_batch: int,
    clock: Clock,
    task_loss: Mapping[str, float] | None = None,
    backward: Callable[[Tensor], None] = torch.Tensor.backward,
    unsynchronised: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """Add the gradient of a batch's mean loss, in passes of at most `micro_batch` images.

    Args:
        network: Restores (b, 3, h, w).
        batch: Holds `degraded` and `clean`, each (b, 3, h, w), and with `task_loss` the images'
            `task`.
        loss: Mean over images.
        micro_batch: Images per pass.
        clock: Takes the time of `forward` and `backward`.
        task_loss: What the loss of a task's images is multiplied by, 1 if not named.
        backward: How a loss is differentiated.
        unsynchronised: Context in which processes keep their gradients to themselves; entered for
            every pass but the last.

    Returns:
        The batch's mean loss, detached.
    """
    degraded, clean = batch["degraded"], batch["clean"]
    images = len(degraded)
    weights = [task_loss.get(task, 1.0) for task in batch["task"]] if task_loss else [1.0] * images
    total: Tensor = degraded.new_zeros(())
    for start in range(0, images, micro_batch):
        part = slice(start, start + micro_batch)
        last = start + micro_batch >= images
        with nullcontext() if last else unsynchronised():
            with clock.part("forward"):
                share = len(degraded[part]) / images
                restored = network(degraded[part])
                value = weighted_loss(loss, restored, clean[part], weights[part]) * share
            with clock.part("backward"):
                backward(value)
        total = total + value.detach()
        # else the next pass would begin while this one's graph is still held
        del value, restored
    return total


def gradient_norm(network: nn.Module, clip: float | None) -> float:
    """Return the gradient's norm, having scaled it down to `clip` where that is smaller."""
    parameters = [p for p in network.parameters() if p.grad is not None]
    if clip is not None:
        return float(torch.nn.utils.clip_grad_norm_(parameters, clip))
    grads = [p.grad for p in parameters if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(grads)) if grads else math.nan
