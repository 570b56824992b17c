"""Features times SiLU of a gate."""

from torch import Tensor

from unveil.errors import InputError
from unveil.ops.dispatch import OpBackend, route
from unveil.ops.silu_gate.native import SILU_GATE

__all__ = ["silu_gate"]


def silu_gate(x: Tensor, gate: Tensor, *, backend: OpBackend = "auto") -> Tensor:
    """Return x · SiLU(gate), in one pass.

    The native kernel runs on the CPU in float32 (half types are cast around it); everything else,
    and an exported graph, runs as plain PyTorch operations.

    Args:
        x: Features of any shape.
        gate: Shaped as x.
        backend: ``"auto"``, or ``"reference"`` or ``"native"``, which then runs or raises.

    Returns:
        Shaped and typed as x.

    Raises:
        InputError: The shapes differ.
        BackendUnavailableError: The backend asked for cannot run this call.

    >>> import torch
    >>> silu_gate(torch.tensor([2.0]), torch.tensor([1.0]))
    tensor([1.4621])
    """
    if gate.shape != x.shape:
        raise InputError(f"gate has shape {tuple(gate.shape)}, expected {tuple(x.shape)} as x")
    return SILU_GATE.run(route(backend, x, gate), x, gate)
