"""Whether a batch fits into memory at all."""

import torch

from unveil.errors import RecipeError
from unveil.inference.memory import available_bytes
from unveil.training.recipe import Phase


def check_memory(number: int, phase: Phase, images: int) -> None:
    """Refuse a batch that cannot even be loaded, before the system ends the process for it.

    Args:
        number: Of the phase.
        phase: Patch and batch.
        images: Of the batch, in this process.

    Raises:
        RecipeError: It needs more memory than is free.
    """
    free = available_bytes(torch.device("cpu"))
    # Degraded and clean, once as samples and once as a batch, in single precision.
    needed = 2 * 2 * 4 * 3 * images * phase.patch**2
    if free is not None and needed > free:
        raise RecipeError(
            f"schedule.phases.{number}: {images} patches of {phase.patch} pixels take "
            f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: choose a smaller batch"
        )
