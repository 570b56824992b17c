"""The gradient of a batch: micro-batches, weighted loss, backward."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unveil.training.losses import Loss

Batch = dict[str, Any]


@dataclass
class Clock:
    """Seconds of the host per part of a step, summed since the last `take`."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a part."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def take(self) -> dict[str, float]:
        """Return the sums and start again from zero."""
        taken, self.seconds = self.seconds, {}
        return taken


def _weighted_loss(loss: Loss, restored: Tensor, clean: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the mean over images ``(b, c, h, w)`` of their losses, each times its weight.

    It is not divided by the weights' sum: an image's gradient does not depend on its neighbours.
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
        network: Restores ``(b, 3, h, w)``.
        batch: Holds `degraded` and `clean`, each ``(b, 3, h, w)``, and with `task_loss` the images'
            `task`.
        loss: Mean over images.
        micro_batch: Images per pass.
        clock: Takes the time of `forward` and `backward`.
        task_loss: Factor on the loss of a task's images, 1 if not named.
        backward: Differentiates a loss.
        unsynchronised: Context that leaves gradients unreduced between processes; entered for
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
                value = _weighted_loss(loss, restored, clean[part], weights[part]) * share
            with clock.part("backward"):
                backward(value)
        total = total + value.detach()
        # Otherwise the next pass would begin while this one's graph is still held.
        del value, restored
    return total
