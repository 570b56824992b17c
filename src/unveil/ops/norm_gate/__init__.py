"""Layer normalisation times SiLU of a gate: what closes the 2-D Mamba block."""

from torch import Tensor

from unveil.errors import InputError
from unveil.ops.dispatch import OpBackend, route
from unveil.ops.layer_norm import check_norm
from unveil.ops.layer_norm.native import NORM

__all__ = ["norm_gate"]


def norm_gate(
    x: Tensor,
    gate: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    epsilon: float = 1e-5,
    *,
    backend: OpBackend = "auto",
) -> Tensor:
    """Return LayerNorm(x) · SiLU(gate), in one pass.

    Where the native kernel runs: see `layer_norm`.

    Args:
        x: Features (..., c).
        gate: Shaped as x.
        weight: Of the normalisation (c,).
        bias: Of the normalisation (c,).
        epsilon: Added to the variance.
        backend: ``"auto"``, or ``"reference"`` or ``"native"``, which then runs or raises.

    Returns:
        Shaped and typed as x.

    Raises:
        InputError: An argument has the wrong shape.
        BackendUnavailableError: The backend asked for cannot run this call.

    Source: Liu et al., "VMamba" (arXiv:2401.10166), figure 3.

    >>> import torch
    >>> norm_gate(torch.tensor([[1.0, 3.0]]), torch.ones(1, 2), torch.ones(2))
    tensor([[-0.7311,  0.7311]])
    """
    check_norm(x, weight, bias)
    if gate.shape != x.shape:
        raise InputError(f"gate has shape {tuple(gate.shape)}, expected {tuple(x.shape)} as x")
    return NORM.run(route(backend, x, gate, weight, bias), x, gate, weight, bias, epsilon)
