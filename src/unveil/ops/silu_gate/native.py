"""Binding of the native SiLU gate."""

import torch
from torch import Tensor

from unveil.ops._fused import POINTER, SIZE, FusedPass, address, function
from unveil.ops.silu_gate.reference import plain_silu_gate


def _forward(x: Tensor, gate: Tensor) -> Tensor:
    y = torch.empty_like(x)
    function("silu_gate_forward", *(POINTER,) * 3, SIZE)(
        address(x), address(gate), address(y), x.numel()
    )
    return y


def _backward(grad: Tensor, x: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    grads = torch.empty_like(x), torch.empty_like(gate)
    function("silu_gate_backward", *(POINTER,) * 5, SIZE)(
        address(x), address(gate), address(grad), *map(address, grads), x.numel()
    )
    return grads


SILU_GATE = FusedPass(
    name="silu_gate",
    arguments="Tensor x, Tensor gate",
    forward=_forward,
    backward=_backward,
    plain=plain_silu_gate,
).register()
