"""Inner products of channels over the pixels of an image."""

from torch import Tensor

from unveil.errors import InputError
from unveil.ops.channel_gram.native import GRAM, LANES
from unveil.ops.dispatch import OpBackend, route

__all__ = ["channel_gram"]


def channel_gram(x: Tensor, *, backend: OpBackend = "auto") -> Tensor:
    """Return the mean over pixels of x · xᵀ.

    The native kernel computes half of the symmetric matrix; it needs a multiple of 16 channels.

    Args:
        x: Features (b, h, w, c).
        backend: ``"auto"``, or ``"reference"`` or ``"native"``, which then runs or raises.

    Returns:
        (b, c, c), typed as x.

    Raises:
        InputError: x has another number of axes.
        BackendUnavailableError: The backend asked for cannot run this call.

    >>> import torch
    >>> channel_gram(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2))[0]
    tensor([[ 5.,  7.],
            [ 7., 10.]])
    """
    if x.dim() != 4:
        raise InputError(f"x has shape {tuple(x.shape)}, expected (b, h, w, c)")
    channels = x.shape[3]
    limit = f"{channels} channels are no multiple of {LANES}" if channels % LANES else None
    return GRAM.run(route(backend, x, limit=limit, products="gram"), x)
