"""The samples of each step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch.utils.data import Sampler

from unveil.errors import InputError

# Weights of tasks; none means that the sources' own weights hold.
TaskWeights = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Address of one sample: with the seed it decides everything about it.

    Attributes:
        step: Optimiser step, from 0.
        index: Place in the step's global batch, over all processes.
        patch: Side of the square patch, in pixels.
        tasks: What the tasks weigh in this step; a task not named has no samples.
    """

    step: int
    index: int
    patch: int
    tasks: TaskWeights = ()


def worker_context(workers: int) -> str | None:
    """Name the way in which a `DataLoader`'s worker processes must start.

    A forked process has no use of the image library: the threads that it waits for stay behind in
    its parent. So workers start afresh; the decoded photos reach them as a shared file.

    Args:
        workers: ``num_workers`` of the loader.

    Returns:
        What its ``multiprocessing_context`` is to be.

    >>> worker_context(0), worker_context(2)
    (None, 'spawn')
    """
    return "spawn" if workers else None


class StepBatches(Sampler[list[SampleKey]]):
    """Batches of keys for a `torch.utils.data.DataLoader`'s ``batch_sampler``.

    The global batch of a step has the indices 0 to ``batch - 1``. It is cut into equal parts for
    the processes, so that any number of processes trains on the same samples.

    Resuming is starting at another step:

    >>> plan = lambda step: (4, 64 if step < 1 else 128)
    >>> for keys in StepBatches(plan, steps=2, rank=1, world_size=2):
    ...     print([(key.step, key.index, key.patch) for key in keys])
    [(0, 2, 64), (0, 3, 64)]
    [(1, 2, 128), (1, 3, 128)]
    """

    def __init__(
        self,
        plan: Callable[[int], tuple[int, int]],
        *,
        steps: int,
        first_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
        tasks: Callable[[int], TaskWeights] | None = None,
    ) -> None:
        """Lay out the steps.

        Args:
            plan: From a step to its global batch and patch size.
            steps: Number of steps of the whole run; the last one is ``steps - 1``.
            first_step: Step to begin with.
            rank: This process.
            world_size: Number of processes.
            tasks: From a step to the weights of its tasks.

        Raises:
            InputError: `rank` is not a process among `world_size`.
        """
        if not 0 <= rank < world_size:
            raise InputError(
                f"got rank {rank} of {world_size} processes, expected 0..{world_size - 1}"
            )
        self.plan, self.steps, self.first_step = plan, steps, first_step
        self.rank, self.world_size = rank, world_size
        self.tasks = tasks

    def of_step(self, step: int) -> list[SampleKey]:
        """List this process's samples of a step.

        Raises:
            InputError: The batch does not divide evenly among the processes.
        """
        batch, patch = self.plan(step)
        share, rest = divmod(batch, self.world_size)
        if rest or not share:
            raise InputError(
                f"a batch of {batch} does not divide among {self.world_size} processes; "
                f"use a multiple of {self.world_size}"
            )
        tasks = self.tasks(step) if self.tasks else ()
        start = self.rank * share
        return [SampleKey(step, start + i, patch, tasks) for i in range(share)]

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return map(self.of_step, range(self.first_step, self.steps))

    def __len__(self) -> int:
        return self.steps - self.first_step
