"""Register passes of the kernel library: for autograd, and as operators for compilers."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from unveil.errors import BackendUnavailableError
from unveil.ops import native
from unveil.ops._route import Route, library, refuse_second_derivatives

POINTER, SIZE, INT, FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float


@dataclass(frozen=True, eq=False)
class FusedPass:
    """One pass: its kernels, and what stands in for them.

    The arguments of all four functions are tensors first (some may be None), then numbers. The
    kernels get contiguous float32.

    Attributes:
        name: Name of the operator, ``unveil::name``.
        arguments: The arguments in the language of PyTorch's schemas.
        forward: Returns the output.
        backward: Takes the output's gradient first; returns a gradient for each tensor argument,
            anything for those that are None.
        plain: The forward in plain PyTorch operations.
        shape: Returns the output's shape.
    """

    name: str
    arguments: str
    forward: Callable[..., Tensor]
    backward: Callable[..., tuple[Tensor, ...]]
    plain: Callable[..., Tensor]
    shape: Callable[..., tuple[int, ...]]

    @cached_property
    def tensors(self) -> int:
        """How many arguments are tensors."""
        return self.arguments.count("Tensor")

    def run(self, how: Route, *arguments: Any) -> Tensor:
        """Run the pass; the output is typed as the first argument.

        Args:
            how: `Route.DIRECT` or `Route.OPERATOR`.
            arguments: The arguments, checked.
        """
        count = self.tensors
        tensors = [None if t is None else ready(t) for t in arguments[:count]]
        numbers = arguments[count:]
        if how is Route.OPERATOR:
            y: Tensor = getattr(torch.ops.unveil, self.name)(*tensors, *numbers)
        elif torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
            y = _Recorded.apply(self, *tensors, *numbers)  # type: ignore[no-untyped-call]
        else:
            y = self.forward(*tensors, *numbers)
        dtype: torch.dtype = arguments[0].dtype
        return y if y.dtype is dtype else y.to(dtype)

    def register(self) -> "FusedPass":
        """Register the pass and its backward as operators, and return it."""
        op, results = f"unveil::{self.name}", ", ".join(["Tensor"] * self.tensors)
        torch.library.define(op, f"({self.arguments}) -> Tensor")
        torch.library.define(f"{op}_backward", f"(Tensor grad, {self.arguments}) -> ({results})")
        torch.library.impl(op, "CPU")(self._operator)
        torch.library.impl(f"{op}_backward", "CPU")(self._operator_backward)
        torch.library.register_fake(op)(self._fake)
        torch.library.register_fake(f"{op}_backward")(self._fake_backward)
        torch.library.register_autograd(op, self._differentiate, setup_context=self._keep)
        return self

    def _operator(self, *arguments: Any) -> Tensor:
        if library() is None:
            return self.plain(*arguments).contiguous()
        return self.forward(*_contiguous(arguments))

    def _operator_backward(self, grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        if library() is not None:
            return self.backward(*_contiguous((grad, *arguments)))
        given = arguments[: self.tensors]
        leaves = [None if t is None else t.detach().requires_grad_() for t in given]
        with torch.enable_grad():
            y = self.plain(*leaves, *arguments[self.tensors :])
        grads = iter(torch.autograd.grad(y, [t for t in leaves if t is not None], grad))
        return tuple(grad.new_empty(0) if t is None else next(grads).contiguous() for t in leaves)

    def _fake(self, *arguments: Any) -> Tensor:
        made: Tensor = arguments[0].new_empty(self.shape(*arguments))
        return made

    def _fake_backward(self, grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        shapes = [(0,) if t is None else t.shape for t in arguments[: self.tensors]]
        return tuple(grad.new_empty(shape) for shape in shapes)

    def _keep(self, ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG002
        ctx.save_for_backward(*inputs[: self.tensors])
        ctx.numbers = inputs[self.tensors :]

    def _differentiate(self, ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        operator = getattr(torch.ops.unveil, f"{self.name}_backward")
        grads = operator(grad, *ctx.saved_tensors, *ctx.numbers)
        return _only_given(grads, ctx.saved_tensors) + (None,) * len(ctx.numbers)


class _Recorded(torch.autograd.Function):
    """The kernels without the operator's dispatch, which costs as much as a small image."""

    @staticmethod
    def forward(ctx: Any, fused: FusedPass, *arguments: Any) -> Tensor:
        ctx.fused = fused
        ctx.save_for_backward(*arguments[: fused.tensors])
        ctx.numbers = arguments[fused.tensors :]
        return fused.forward(*arguments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        tensors, numbers = ctx.saved_tensors, ctx.numbers
        grads = ctx.fused.backward(ready(grad), *tensors, *numbers)
        return (None, *_only_given(grads, tensors), *(None,) * len(numbers))


def recorded(
    forward: Callable[..., Any],
    save: Callable[..., None],
    differentiate: Callable[..., tuple[Any, ...]],
) -> Callable[..., Any]:
    """Return what `torch.library.register_autograd` makes of an operator, without its dispatch.

    Args:
        forward: Returns the outputs for the inputs.
        save: The operator's `setup_context`: takes the context, inputs and outputs.
        differentiate: Takes the context and the outputs' gradients; returns the inputs' gradients.

    Returns:
        A function of the inputs that autograd can differentiate once.
    """

    class Recorded(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            output = forward(*inputs)
            save(ctx, inputs, output)
            return output

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
            refuse_second_derivatives()
            return differentiate(ctx, *gradients)

    apply: Callable[..., Any] = Recorded.apply
    return apply


def _only_given(
    grads: tuple[Tensor, ...], tensors: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    pairs = zip(grads, tensors, strict=True)
    return tuple([None if tensor is None else grad for grad, tensor in pairs])


def _contiguous(arguments: tuple[Any, ...]) -> list[Any]:
    return [x.contiguous() if isinstance(x, Tensor) else x for x in arguments]


def ready(tensor: Tensor) -> Tensor:
    """Return the tensor as the kernels read it: float32 and contiguous.

    >>> ready(torch.zeros(2, 3, dtype=torch.bfloat16).mT).stride()
    (2, 1)
    """
    if tensor.dtype is not torch.float32:
        tensor = tensor.float()
    return tensor.contiguous()


def address(tensor: Tensor | None) -> int | None:
    """Return where the values lie; None for an absent tensor.

    >>> address(None) is None
    True
    """
    return None if tensor is None else tensor.data_ptr()


@cache
def function(name: str, *types: type) -> Callable[..., None]:
    """Return a function of the kernel library that returns nothing.

    Args:
        name: Its name without the prefix ``unveil_``.
        types: Types of its arguments.

    Raises:
        BackendUnavailableError: There is no library, or it was built before it had the function.
    """
    try:
        entry = getattr(native.load(), f"unveil_{name}")
    except AttributeError:
        reason = f"the kernel library has no function unveil_{name}: build it anew"
        raise BackendUnavailableError(reason) from None
    entry.argtypes = types
    entry.restype = None
    found: Callable[..., None] = entry
    return found
