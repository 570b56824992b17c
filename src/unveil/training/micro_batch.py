"""Micro-batches: the memory that a step takes, and the images per pass within a limit."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from unveil.errors import RecipeError
from unveil.inference.memory import available_bytes
from unveil.process import process_memory
from unveil.training.recipe import Phase, Recipe

# A step's peak over the bytes saved between forward and backward: 1.04 to 1.63 measured on the
# CPU, for the small and base networks, 64² to 128² patches, whole and split batches.
_TEMPORARIES = 1.65
# Beside the weights: gradient, AdamW's two averages, the moving average.
_COPIES_OF_WEIGHTS = 4


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


def micro_batches(recipe: Recipe, network: nn.Module, processes: int) -> tuple[int, ...]:
    """Choose the images per pass of every phase.

    Args:
        recipe: `optim.micro_batch` takes precedence over `optim.memory`; with neither, a pass is a
            whole batch.
        network: On the device it is trained on.
        processes: Processes that share a batch.

    Raises:
        RecipeError: Not even one image fits into `optim.memory`.
    """
    optim = recipe.optim
    in_use = memory_in_use(next(network.parameters()).device)
    chosen = []
    for phase in recipe.schedule.phases:
        batch = phase.batch // processes
        if optim.micro_batch is not None:
            chosen.append(min(optim.micro_batch, batch))
        elif optim.memory is not None:
            per_image = saved_bytes(network, recipe.loss(phase), phase.patch)
            chosen.append(_largest_micro_batch(network, per_image, batch, optim.memory, in_use))
        else:
            chosen.append(batch)
    return tuple(chosen)


def memory_needed(recipe: Recipe, network: nn.Module, micro_batch: Sequence[int]) -> int:
    """Estimate the bytes of the largest phase's step, this process and cached images included.

    Args:
        recipe: Phases and losses.
        network: On the device it is trained on.
        micro_batch: Images per pass, per phase.
    """
    in_use = memory_in_use(next(network.parameters()).device)
    needs = []
    for phase, images in zip(recipe.schedule.phases, micro_batch, strict=True):
        per_image = saved_bytes(network, recipe.loss(phase), phase.patch)
        needs.append(in_use + step_bytes(network, per_image, images))
    return max(needs)


def memory_in_use(device: torch.device) -> int:
    """Return the bytes in use: of the device where it has its own memory, else of the process."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else process_memory()


def saved_bytes(network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], patch: int) -> int:
    """Return the bytes kept between forward and backward for one image.

    Args:
        network: The network, in training mode.
        loss: Loss of (restored, clean).
        patch: Side of the square image.
    """
    device = next(network.parameters()).device
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    image = torch.zeros(1, 3, patch, patch, device=device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = loss(network(image), image)
    del result
    return sum(seen.values())


def step_bytes(network: nn.Module, per_image: int, images: int) -> int:
    """Estimate the bytes a step needs in addition to the weights.

    Args:
        network: The network.
        per_image: Bytes kept per image, from `saved_bytes`.
        images: Images per pass.
    """
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    return _COPIES_OF_WEIGHTS * weights + int(_TEMPORARIES * per_image * images)


def _largest_micro_batch(
    network: nn.Module, per_image: int, batch: int, limit: int, in_use: int
) -> int:
    """Return the most images per pass, up to `batch`, that keep a step within `limit` bytes.

    Raises:
        RecipeError: Not even one image fits.
    """
    free = limit - in_use - step_bytes(network, per_image, 0)
    images = int(free / (_TEMPORARIES * per_image))
    if images < 1:
        needed = in_use + step_bytes(network, per_image, 1)
        raise RecipeError(
            f"one image needs about {needed / 1e9:.2f} GB, optim.memory is {limit / 1e9:.2f} GB: "
            "raise it, or choose a smaller patch or network"
        )
    # Equal parts waste no pass on a small remainder.
    parts = -(-batch // min(images, batch))
    return -(-batch // parts)
