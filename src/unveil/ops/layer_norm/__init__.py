"""Layer normalisation over few channels."""

from torch import Tensor

from unveil.errors import InputError
from unveil.ops.dispatch import OpBackend, route
from unveil.ops.layer_norm.native import NORM

__all__ = ["check_norm", "layer_norm"]


def layer_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    epsilon: float = 1e-5,
    *,
    backend: OpBackend = "auto",
) -> Tensor:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift.

    PyTorch's own kernel is made for long rows; this one for the tens of channels of an image
    network. It runs on the CPU in float32 (half types are cast around it); everything else, and an
    exported graph, runs as plain PyTorch operations.

    Args:
        x: Features (..., c).
        weight: (c,).
        bias: (c,).
        epsilon: Added to the variance.
        backend: ``"auto"``, or ``"reference"`` or ``"native"``, which then runs or raises.

    Returns:
        Shaped and typed as x.

    Raises:
        InputError: An argument has the wrong shape.
        BackendUnavailableError: The backend asked for cannot run this call.

    Source: Ba et al., "Layer Normalization" (arXiv:1607.06450), equation 4.

    >>> import torch
    >>> layer_norm(torch.tensor([[1.0, 3.0]]), torch.ones(2))
    tensor([[-1.0000,  1.0000]])
    """
    check_norm(x, weight, bias)
    return NORM.run(route(backend, x, weight, bias), x, None, weight, bias, epsilon)


def check_norm(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Check the shapes of a normalisation's arguments.

    Args:
        x: (..., c).
        weight: (c,).
        bias: (c,).

    Raises:
        InputError: An argument has the wrong shape.

    >>> import torch
    >>> check_norm(torch.zeros(1, 2, 2, 5), torch.zeros(5), None)
    """
    if x.dim() == 0:
        raise InputError("x has shape (), expected (..., c)")
    channels = x.shape[-1]
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and value.shape != (channels,):
            raise InputError(f"{name} has shape {tuple(value.shape)}, expected ({channels},)")
