"""Binding of the native layer normalisation, plain or gated."""

import torch
from torch import Tensor

from unveil.ops._fused import FLOAT, POINTER, SIZE, FusedPass, address, function
from unveil.ops.layer_norm.reference import plain_norm


def _forward(
    x: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor | None, epsilon: float
) -> Tensor:
    y, channels = torch.empty_like(x), weight.numel()
    function("norm_forward", *(POINTER,) * 5, SIZE, SIZE, FLOAT)(
        address(x), address(gate), address(weight), address(bias), address(y),
        x.numel() // channels, channels, epsilon,
    )  # fmt: skip
    return y


def _backward(
    grad: Tensor,
    x: Tensor,
    gate: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    epsilon: float,
) -> tuple[Tensor, ...]:
    channels = weight.numel()
    grad_gate = x.new_empty(0) if gate is None else torch.empty_like(gate)
    grads = torch.empty_like(x), grad_gate, torch.empty_like(weight), torch.empty_like(weight)
    function("norm_backward", *(POINTER,) * 9, SIZE, SIZE, FLOAT)(
        address(x), address(gate), address(weight), address(bias), address(grad),
        *map(address, grads), x.numel() // channels, channels, epsilon,
    )  # fmt: skip
    return grads


NORM = FusedPass(
    name="norm",
    arguments="Tensor x, Tensor? gate, Tensor weight, Tensor? bias, float epsilon",
    forward=_forward,
    backward=_backward,
    plain=plain_norm,
).register()
