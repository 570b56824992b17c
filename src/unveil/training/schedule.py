"""A step's phase and learning rate, functions of the step alone.

Nothing here has state, so a resumed run needs nothing from the one before.
"""

import math
from collections.abc import Sequence

from unveil.training.recipe import Phase, ScheduleSection


def phase_ends(phases: Sequence[Phase], steps: int) -> list[int]:
    """Return each phase's end in steps.

    Args:
        phases: Phases with ends as shares of the whole.
        steps: Steps of the whole training.

    >>> phase_ends([Phase(until=0.5, patch=64, batch=8), Phase(until=1, patch=96, batch=4)], 101)
    [50, 101]
    """
    return [min(steps, math.floor(phase.until * steps)) for phase in phases]


def phase_at(phases: Sequence[Phase], step: int, steps: int) -> Phase:
    """Return the phase a step belongs to.

    Args:
        phases: Phases in order.
        step: Steps done before this one, from 0.
        steps: Steps of the whole training.
    """
    for phase, end in zip(phases, phase_ends(phases, steps), strict=True):
        if step < end:
            return phase
    return phases[-1]


def learning_rate(schedule: ScheduleSection, peak: float, step: int, steps: int) -> float:
    """Return a step's learning rate: linear warm-up, then a cosine to `final_lr`.

    Args:
        schedule: Warm-up and final rate.
        peak: Rate at the end of the warm-up.
        step: Steps done before this one, from 0.
        steps: Steps of the whole training.

    >>> flat = ScheduleSection(steps=10, phases=[Phase(until=1, patch=8, batch=1)])
    >>> learning_rate(flat, 1.0, 0, 10), round(learning_rate(flat, 1.0, 5, 10), 3)
    (1.0, 0.5)
    """
    warmup = schedule.warmup * steps
    if step + 1 <= warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1.0, steps - warmup)
    share = 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    return schedule.final_lr + (peak - schedule.final_lr) * share
