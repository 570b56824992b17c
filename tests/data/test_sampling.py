"""Batches cover a step's addresses once, whatever the number of processes."""

import pytest

from unveil.data import StepBatches
from unveil.errors import InputError


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("micro_batch", [None, 1, 3, 100])
def test_processes_and_micro_batches_share_out_the_same_step(world_size, micro_batch):
    options = {"steps": 3, "micro_batch": micro_batch, "world_size": world_size}
    ranks = [StepBatches(lambda _: (8, 32), rank=r, **options) for r in range(world_size)]
    for batches in ranks:
        assert len(list(batches)) == len(batches)
    for step in range(3):
        keys = [key for r in ranks for group in r.micro_batches(step) for key in group]
        assert sorted(key.index for key in keys) == list(range(8))
        # The k-th micro-batches of all processes are one stretch of the global batch.
        done = 0
        for groups in zip(*(r.micro_batches(step) for r in ranks), strict=True):
            indices = sorted(key.index for group in groups for key in group)
            assert indices == list(range(done, done + len(indices)))
            done += len(indices)


def test_resuming_continues_with_the_same_keys():
    plan = {0: (2, 16), 1: (4, 24), 2: (4, 32)}.__getitem__
    whole = list(StepBatches(plan, steps=3))
    assert list(StepBatches(plan, steps=3, first_step=1)) == whole[1:]


@pytest.mark.parametrize(("batch", "world_size"), [(3, 2), (1, 2), (0, 1)])
def test_an_uneven_batch_is_refused(batch, world_size):
    batches = StepBatches(lambda _: (batch, 16), steps=1, world_size=world_size)
    with pytest.raises(InputError, match="does not divide"):
        list(batches)


def test_a_rank_outside_the_group_is_refused():
    with pytest.raises(InputError, match="rank"):
        StepBatches(lambda _: (2, 16), steps=1, rank=2, world_size=2)
