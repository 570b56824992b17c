"""The cost of a pass, counted rather than timed."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from unveil.layers.channel_ssm import ChannelSSM
from unveil.layers.scan import ImageScan
from unveil.models.base import RestorationModel


@dataclass(frozen=True)
class Cost:
    """Operations of one pass.

    Attributes:
        pixels: Pixels of the image.
        multiply_adds: Of convolutions and matrix products, each counted once; element-wise work
            is not counted.
        scan_updates: State updates of the selective scans: batch · tokens · channels · states,
            each one exponential and two multiply-adds.
    """

    pixels: int
    multiply_adds: int
    scan_updates: int

    @property
    def multiply_adds_per_pixel(self) -> float:
        """Multiply-adds over pixels."""
        return self.multiply_adds / self.pixels

    @property
    def scan_updates_per_pixel(self) -> float:
        """State updates over pixels."""
        return self.scan_updates / self.pixels


def count_operations(model: RestorationModel, height: int = 256, width: int = 256) -> Cost:
    """Count the operations of restoring one image, without running it.

    Args:
        model: The network; it is not changed.
        height: Of the image, a multiple of the model's size multiple.
        width: Likewise.

    Returns:
        The counts.

    >>> from unveil import create_model
    >>> count_operations(create_model("cu_mamba_tiny", spatial_ssm=False)).scan_updates
    0
    """
    counted = copy.deepcopy(model).to("meta")
    updates: list[int] = []
    products: list[int] = []
    for module in counted.modules():
        if isinstance(module, ImageScan | ChannelSSM):
            # Backends compute one recurrence by different operations: the recurrence is counted.
            module.scan = _counting(updates, products)
    image = torch.empty(1, 3, height, width, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        counted(image)
    multiply_adds = counter.get_total_flops() // 2 + sum(products)
    return Cost(height * width, multiply_adds, sum(updates))


def _counting(updates: list[int], products: list[int]) -> Callable[..., Tensor]:
    """Return a stand-in for a scan that notes its state updates and Δ's products."""

    def scan(u: Tensor, _: Tensor, A: Tensor, *__: Any, **options: Any) -> Tensor:
        tokens = u.numel() // A.shape[-2]
        updates.append(tokens * A.numel())
        weight = options.get("delta_weight")
        products.append(0 if weight is None else tokens * weight.numel())
        return torch.empty_like(u)

    return scan
