"""Batches cover a step's addresses once, whatever the number of processes."""

import pytest

from unveil.data import StepBatches
from unveil.errors import InputError


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_processes_share_out_the_same_step(world_size):
    ranks = [
        StepBatches(lambda _: (8, 32), steps=3, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for batches in ranks:
        assert len(list(batches)) == len(batches) == 3
    for keys in zip(*ranks, strict=True):
        assert [key.index for share in keys for key in share] == list(range(8))


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
