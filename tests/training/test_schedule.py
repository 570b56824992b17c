"""Phases and learning rate are functions of the step."""

import math

import pytest

from unveil.training.recipe import Phase, ScheduleSection
from unveil.training.schedule import learning_rate, phase_at, phase_ends

PHASES = [
    Phase(until=0.25, patch=8, batch=4),
    Phase(until=0.5, patch=16, batch=2),
    Phase(until=1.0, patch=32, batch=1),
]


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100, 12345])
def test_phases_cover_every_step_once_and_in_order(steps):
    patches = [phase_at(PHASES, step, steps).patch for step in range(steps)]
    assert patches == sorted(patches)
    ends = phase_ends(PHASES, steps)
    assert ends[-1] == steps
    for phase, start, end in zip(PHASES, [0, *ends], ends, strict=False):
        assert patches.count(phase.patch) == end - start


def test_the_rate_warms_up_linearly_then_follows_a_cosine():
    schedule = ScheduleSection(steps=100, warmup=0.1, final_lr=0.01, phases=PHASES)
    rates = [learning_rate(schedule, 1.0, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    for step in range(10, 100):
        share = 0.5 * (1 + math.cos(math.pi * (step - 10) / 90))
        assert rates[step] == pytest.approx(0.01 + 0.99 * share)
    assert max(rates) == 1.0


def test_the_rate_ends_near_the_final_one():
    schedule = ScheduleSection(steps=1000, final_lr=1e-6, phases=PHASES)
    assert learning_rate(schedule, 1e-3, 999, 1000) == pytest.approx(1e-6, abs=5e-9)
