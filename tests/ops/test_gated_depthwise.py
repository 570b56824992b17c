"""The gated depth-wise convolution against PyTorch in float64, and as an operator."""

import pytest
import torch
from torch import Tensor

from unveil.errors import InputError
from unveil.ops import gated_depthwise, native

needs_library = pytest.mark.skipif(
    native.status().reason is not None, reason=f"no kernel library: {native.status().reason}"
)
# One pixel, fewer channels than lanes, an odd tail, exact lanes, several tiles both ways.
SHAPES = [(1, 1, 1, 3), (2, 3, 1, 16), (2, 5, 7, 40), (1, 18, 3, 24), (1, 35, 131, 17)]
GATES = ["none", "silu", "gelu"]


def arguments(shape: tuple[int, ...]) -> list[Tensor]:
    *pixels, c = shape
    values = torch.randn(*pixels, 2 * c), torch.randn(2 * c, 1, 3, 3), torch.randn(2 * c)
    return [value.requires_grad_() for value in values]


def results(values: list[Tensor], grad: Tensor, **options: object) -> list[Tensor]:
    """Return the output, then the gradient of every tensor."""
    y = gated_depthwise(*values, **options)
    return [y.detach(), *torch.autograd.grad(y, values, grad.to(y.dtype))]


def relative_error(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape
    return float((got.double() - expected).norm() / expected.norm())


@needs_library
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("bias", [True, False])
def test_native_agrees_with_float64(shape: tuple[int, ...], gate: str, bias: bool) -> None:
    values, grad = arguments(shape)[: 3 if bias else 2], torch.randn(shape)
    exact = [value.detach().double().requires_grad_() for value in values]
    expected = results(exact, grad, gate=gate, backend="reference")
    got = results(values, grad, gate=gate, backend="native")
    # Rounding of float32: a few units for the output, more for sums over all pixels.
    assert relative_error(got[0], expected[0]) < 2e-6
    assert all(relative_error(g, e) < 5e-6 for g, e in zip(got[1:], expected[1:], strict=True))


@needs_library
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    values, grad = arguments((1, 64, 130, 24)), torch.randn(1, 64, 130, 24)
    threads, runs = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            runs.append(results(values, grad, backend="native"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@needs_library
def test_the_operator_passes_opcheck_and_compiles() -> None:
    values, grad = arguments((1, 4, 3, 6)), torch.randn(1, 4, 3, 6)
    torch.library.opcheck(torch.ops.unveil.depthwise.default, (*values, 2, 0.0, True))
    expected = results(values, grad, gate="gelu")
    y = torch.compile(gated_depthwise, fullgraph=True, backend="aot_eager")(*values, "gelu")
    got = [y.detach(), *torch.autograd.grad(y, values, grad)]
    assert all(torch.equal(g, e) for g, e in zip(got, expected, strict=True))


def test_an_exported_graph_gives_the_same() -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return gated_depthwise(x, weight)

    x, weight, _ = (value.detach() for value in arguments((1, 4, 3, 6)))
    program = torch.export.export(Layer(), (x, weight))
    assert torch.allclose(program.module()(x, weight), Layer()(x, weight), rtol=1e-5, atol=1e-5)


def test_wrong_arguments_are_named() -> None:
    x, weight = torch.zeros(1, 2, 2, 3), torch.zeros(3, 1, 3, 3)
    with pytest.raises(InputError, match="x has 3 channels, expected an even number"):
        gated_depthwise(x, weight)
    with pytest.raises(InputError, match="gate is 'relu', expected one of none, silu, gelu"):
        gated_depthwise(x, weight, gate="relu")
