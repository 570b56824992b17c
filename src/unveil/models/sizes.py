"""What each variant holds and costs; for the built-in ones these figures are kept."""

from dataclasses import dataclass

import torch

from unveil.models.base import count_parameters
from unveil.models.cost import Cost, count_operations
from unveil.models.registry import create_model


@dataclass(frozen=True)
class ModelSize:
    """Figures of a variant that follow from its configuration.

    Attributes:
        parameters: Trainable numbers.
        size_multiple: Heights and widths of images are multiples of it.
        cost: Operations of a pass on 256×256 pixels.
    """

    parameters: int
    size_multiple: int
    cost: Cost


# As `count_size` finds them, which takes seconds for all; a test compares both.
_KEPT = {
    "cu_mamba_base": ModelSize(23_273_371, 8, Cost(256**2, 91_919_536_128, 1_811_939_328)),
    "cu_mamba_small": ModelSize(899_004, 8, Cost(256**2, 2_193_358_848, 7_864_320)),
    "cu_mamba_small_deblur": ModelSize(899_004, 8, Cost(256**2, 2_193_358_848, 7_864_320)),
    "cu_mamba_tiny": ModelSize(19_507, 4, Cost(256**2, 168_576_512, 4_980_736)),
    "mtair_base": ModelSize(39_657_176, 8, Cost(256**2, 200_013_084_176, 7_247_757_312)),
    "mtair_small": ModelSize(1_429_690, 8, Cost(256**2, 3_320_558_064, 5_242_880)),
    "mtair_tiny": ModelSize(26_751, 4, Cost(256**2, 230_878_088, 4_980_736)),
}


def model_size(model_id: str) -> ModelSize:
    """Return the figures of a variant: kept ones, or counted for a registered network.

    Args:
        model_id: As in `list_models`.

    Raises:
        InputError: There is no such id.

    >>> model_size("cu_mamba_tiny").parameters
    19507
    """
    return _KEPT.get(model_id) or count_size(model_id)


def count_size(model_id: str) -> ModelSize:
    """Build a variant without memory for its weights, and count.

    Raises:
        InputError: There is no such id.
    """
    with torch.device("meta"):
        network = create_model(model_id)
    return ModelSize(count_parameters(network), network.size_multiple, count_operations(network))
