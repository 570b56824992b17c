"""Register passes of the kernel library: for autograd, and as operators for compilers."""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from unveil.errors import BackendUnavailableError
from unveil.ops import native
from unveil.ops.dispatch import Route, is_plain, library, missing, needs_gradients

POINTER, SIZE, INT, FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float


def _same_shape(x: Tensor, *_: object) -> tuple[int, ...]:
    return tuple(x.shape)


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
        shape: Returns the output's shape; by default that of the first argument.
        kept: Returns a buffer, or None, that `forward` fills and `backward` reads, both as their
            argument ``kept``, where autograd records the kernels at once. The registered operator
            has none.
    """

    name: str
    arguments: str
    forward: Callable[..., Tensor]
    backward: Callable[..., tuple[Tensor, ...]]
    plain: Callable[..., Tensor]
    shape: Callable[..., tuple[int, ...]] = _same_shape
    kept: Callable[..., Tensor | None] | None = None

    @cached_property
    def tensors(self) -> int:
        """How many arguments are tensors."""
        return self.arguments.count("Tensor")

    def run(self, how: Route, *arguments: Any) -> Tensor:
        """Run the pass; the output is typed as the first argument.

        Args:
            how: From `route`.
            arguments: The arguments, checked.
        """
        if how is Route.PLAIN:
            return self.plain(*arguments)
        count = self.tensors
        tensors = [None if t is None else ready(t) for t in arguments[:count]]
        numbers = arguments[count:]
        y: Tensor
        if how is Route.OPERATOR:
            y = getattr(torch.ops.unveil, self.name)(*tensors, *numbers)
        elif needs_gradients(tensors):
            kept = () if self.kept is None else (self.kept(*tensors, *numbers),)
            y = self._recorded(*kept, *tensors, *numbers)
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

    def _operator_backward(self, grad: Tensor, *arguments: Any) -> Any:
        return _results(self._grads(grad, *arguments))

    def _grads(self, grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
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

    def _fake_backward(self, grad: Tensor, *arguments: Any) -> Any:
        shapes = [(0,) if t is None else t.shape for t in arguments[: self.tensors]]
        return _results(tuple(grad.new_empty(shape) for shape in shapes))

    def _keep(self, ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG002
        ctx.save_for_backward(*inputs[: self.tensors])
        ctx.numbers = inputs[self.tensors :]

    def _differentiate(self, ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        operator = getattr(torch.ops.unveil, f"{self.name}_backward")
        grads = operator(grad, *ctx.saved_tensors, *ctx.numbers)
        grads = grads if self.tensors > 1 else (grads,)
        return _only_given(grads, ctx.saved_tensors) + (None,) * len(ctx.numbers)

    @cached_property
    def _recorded(self) -> Callable[..., Tensor]:
        """The kernels as autograd records them, without the operator's dispatch."""
        extra = int(self.kept is not None)
        count = self.tensors + extra

        def forward(*inputs: Any) -> Tensor:
            named = {"kept": inputs[0]} if extra else {}
            return self.forward(*inputs[extra:], **named)

        def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
            ctx.save_for_backward(*inputs[:count])
            ctx.numbers = inputs[count:]

        def differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            tensors, numbers = ctx.saved_tensors, ctx.numbers
            named = {"kept": tensors[0]} if extra else {}
            tensors = tensors[extra:]
            grads = self.backward(ready(grad), *tensors, *numbers, **named)
            none = (None,) * len(numbers)
            return (*(None,) * extra, *_only_given(grads, tensors), *none)

        return recorded(forward, save, differentiate)


def refuse_second_derivatives() -> None:
    """Raise in a kernel's backward that is itself to be differentiated.

    Called there, as PyTorch's own decorator for this doubles the cost of a call.

    Raises:
        BackendUnavailableError: It is.
    """
    if torch.is_grad_enabled():
        raise BackendUnavailableError(
            "the native backend has no second derivatives: ask for backend='reference'"
        )


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


def call(
    operator: Callable[..., Any],
    record: Callable[..., Any],
    forward: Callable[..., Any],
    tensors: Sequence[Tensor | None],
    options: tuple[Any, ...] = (),
) -> Any:
    """Run kernels that the library has: as an operator, recorded by autograd, or at once.

    Args:
        operator: The registered operator, for what intercepts a call.
        record: `recorded` of `forward`.
        forward: The kernels.
        tensors: The call's tensors.
        options: Its other arguments, after the tensors.
    """
    if not is_plain(tensors):
        return operator(*tensors, *options)
    return (record if needs_gradients(tensors) else forward)(*tensors, *options)


def _results(grads: tuple[Tensor, ...]) -> Any:
    """Return what an operator returns: one result is no tuple."""
    return grads if len(grads) > 1 else grads[0]


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
        raise BackendUnavailableError(missing(name)) from None
    entry.argtypes = types
    entry.restype = None
    found: Callable[..., None] = entry
    return found
