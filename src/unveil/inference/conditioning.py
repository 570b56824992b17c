"""Task conditioning: what sets an all-in-one network to one task."""

from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unveil.errors import CheckpointError, InputError
from unveil.inference.diagnosis import LinearProbe, mixer_names
from unveil.inference.options import DEFAULT_MODEL, TASKS, TaskChoice
from unveil.models.registry import get_record, list_models

if TYPE_CHECKING:
    from unveil.inference.loading import LoadedModel

# The type of degradation that a task removes, as the linear probe names it.
_REMOVED = {"denoise": "noise", "derain": "rain", "dehaze": "haze"}


def probe_of(loaded: "LoadedModel") -> LinearProbe:
    """Return the linear probe stored with a network's weights.

    Raises:
        CheckpointError: If there is none.
    """
    if loaded.metadata is None:
        raise CheckpointError(
            f"{loaded.name}: a network alone has no linear probe; give the model's "
            "id or its weights file instead"
        )
    probe = loaded.probe
    if probe is None:
        raise CheckpointError(
            f"{loaded.name}: its weights hold no linear probe; "
            f"take the all-in-one model ({DEFAULT_MODEL}) or fit one with fit_probe"
        )
    return probe


def task_conditioning(
    loaded: "LoadedModel", task: TaskChoice
) -> tuple[dict[str, Tensor], int | None]:
    """Return what sets a network to `task`; one that was made for it alone needs nothing.

    Args:
        loaded: The network.
        task: One of `TASKS`, but not ``"auto"``.

    Returns:
        Prompt weights before softmax, by layer, and the window of the image's statistics (see
        `ModelRecord`).

    Raises:
        InputError: If the network does not do it.
        CheckpointError: If its weights do not say how.
    """
    model_id = getattr(loaded.network, "model_id", "")
    tasks = get_record(model_id).tasks if model_id in list_models() else (task,)
    if task not in tasks:
        raise InputError(f"{loaded.name} does not {task}; it does: {', '.join(tasks)}")
    if loaded.probe is None and not mixer_names(loaded.network):
        return {}, loaded.tiling.window
    degradation = _REMOVED.get(task)
    if degradation is None:
        return {}, loaded.tiling.window
    probe = probe_of(loaded)
    means = probe.means.get(degradation, {}) if degradation in probe.by_prompts else {}
    prompts = {name: torch.tensor([values]) for name, values in means.items()}
    return prompts, probe.windows.get(degradation, loaded.tiling.window)


def tasks_of(loaded: "LoadedModel") -> list[TaskChoice]:
    """Return what a network does beside ``"auto"``."""
    found = []
    for task in TASKS[1:]:
        with suppress(InputError, CheckpointError):
            task_conditioning(loaded, task)
            found.append(task)
    return found
