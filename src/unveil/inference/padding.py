"""Pad any image to a network's size multiple, restore it and crop back."""

import torch
import torch.nn.functional as F
from torch import Tensor

from unveil.errors import InputError
from unveil.layers.statistics import GlobalStatistics
from unveil.models.base import RestorationModel, check_floats


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pad images at the bottom and the right.

    The image is mirrored without repeating its edge; where it is too small for that, the edge is
    repeated.

    Args:
        images: ``(b, c, h, w)``.
        multiple: Height and width become multiples of this.

    Returns:
        ``(b, c, h', w')``, the input itself when nothing is to be done.

    >>> pad_to_multiple(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 4)[0, 0, 0]
    tensor([1., 2., 3., 2.])
    """
    height, width = images.shape[-2:]
    down, right = -height % multiple, -width % multiple
    if right:
        images = F.pad(images, (0, right, 0, 0), "reflect" if right < width else "replicate")
    if down:
        images = F.pad(images, (0, 0, 0, down), "reflect" if down < height else "replicate")
    return images


@torch.no_grad()
def restore_tensor(
    model: RestorationModel,
    degraded: Tensor,
    context: GlobalStatistics | None = None,
    latent: Tensor | None = None,
) -> Tensor:
    """Restore images of any size, whole.

    Args:
        model: The network, in evaluation mode.
        degraded: ``(b, 3, h, w)`` or ``(3, h, w)``, RGB, nominally in [0, 1], h and w ≥ 1.
        context: Image-wide statistics from ``model.collect_statistics``, or None.
        latent: What ``model.refine_latent`` made of a whole image, cut to this tile of it, or None.

    Returns:
        Restored images, same shape and dtype, not clipped; computed in the network's own dtype.

    Raises:
        InputError: The shape does not fit, or the numbers are integers.

    >>> from unveil import create_model
    >>> restore_tensor(create_model("cu_mamba_tiny"), torch.rand(3, 5, 1)).shape
    torch.Size([3, 5, 1])
    """
    if degraded.ndim not in (3, 4) or degraded.shape[-3] != 3:
        raise InputError(
            f"degraded has shape {tuple(degraded.shape)}; expected (b, 3, h, w) or (3, h, w)"
        )
    if 0 in degraded.shape[-2:]:
        raise InputError(f"degraded has shape {tuple(degraded.shape)}: it has no pixels")
    check_floats(degraded)
    images = degraded if degraded.ndim == 4 else degraded[None]
    if not len(images):
        return degraded.clone()
    own_dtype = next(model.parameters(), images).dtype
    padded = pad_to_multiple(images.to(own_dtype), model.size_multiple)
    latent = None if latent is None else latent.to(own_dtype)
    restored = padded + model.residual(padded, context, latent)
    restored = restored[..., : images.shape[-2], : images.shape[-1]].to(degraded.dtype)
    return restored if degraded.ndim == 4 else restored[0]
