"""The depth-wise convolution against PyTorch in float64, and as an operator."""

import pytest
import torch
from torch import Tensor

from unveil.errors import BackendUnavailableError, InputError
from unveil.ops import depthwise_conv, native

needs_library = pytest.mark.skipif(
    native.status().reason is not None, reason=f"no kernel library: {native.status().reason}"
)
# One pixel, fewer channels than lanes, an odd tail, exact lanes, several tiles both ways.
SHAPES = [(1, 1, 1, 3), (2, 3, 1, 16), (2, 5, 7, 40), (1, 18, 3, 24), (1, 35, 131, 17)]
ACTIVATIONS = ["none", "silu", "gelu", "leaky_relu"]


def arguments(shape: tuple[int, ...], bias: bool = True) -> list[Tensor | None]:
    channels = shape[-1]
    values = [torch.randn(shape), torch.randn(channels, 1, 3, 3), torch.randn(channels)]
    return [value.requires_grad_() for value in values[: 3 if bias else 2]] + [None] * (not bias)


@needs_library
def test_the_default_dtype_does_not_matter() -> None:
    values = arguments(SHAPES[2])
    expected = depthwise_conv(*values, backend="native")
    torch.set_default_dtype(torch.float64)
    try:
        y = depthwise_conv(*values, backend="native")
    finally:
        torch.set_default_dtype(torch.float32)
    assert y.dtype is torch.float32
    assert torch.equal(y, expected)


def results(values: list[Tensor | None], grad: Tensor, **options: object) -> list[Tensor]:
    """Return the output, then the gradient of every tensor."""
    leaves = [v for v in values if v is not None]
    y = depthwise_conv(*values, **options)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad.to(y.dtype))]


def in_float64(values: list[Tensor | None]) -> list[Tensor | None]:
    return [None if v is None else v.detach().double().requires_grad_() for v in values]


def relative_error(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape
    return float((got.double() - expected).norm() / expected.norm())


@needs_library
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_native_agrees_with_float64(shape: tuple[int, ...], activation: str, bias: bool) -> None:
    values, grad = arguments(shape, bias), torch.randn(shape)
    options = {"activation": activation, "negative_slope": 0.2}
    expected = results(in_float64(values), grad, backend="reference", **options)
    got = results(values, grad, backend="native", **options)
    # Rounding of float32: a few units for the output, more for sums over all pixels.
    assert relative_error(got[0], expected[0]) < 2e-6
    assert all(relative_error(g, e) < 5e-6 for g, e in zip(got[1:], expected[1:], strict=True))


@needs_library
def test_every_instruction_set_agrees() -> None:
    library, chosen = native.load(), native.status().chosen
    names = ["portable", "avx2", "avx512"]
    values, grad = arguments((2, 19, 6, 20)), torch.randn(2, 19, 6, 20)
    expected = results(in_float64(values), grad, backend="reference", activation="silu")
    try:
        for name in native.status().usable:
            assert library.unveil_isa_choose(names.index(name))
            got = results(values, grad, backend="native", activation="silu")
            worst = max(relative_error(g, e) for g, e in zip(got, expected, strict=True))
            assert worst < 5e-6, name
    finally:
        library.unveil_isa_choose(names.index(chosen))


@needs_library
def test_large_and_infinite_inputs_saturate() -> None:
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 1] = 1.0
    x = torch.tensor([-1e30, -200.0, -90.0, 0.0, 90.0, 1e30, float("inf")]).reshape(7, 1, 1, 1)
    expected = torch.tensor([0.0, 0.0, 0.0, 0.0, 90.0, 1e30, float("inf")])
    for activation in ("silu", "gelu"):
        got = depthwise_conv(x, weight, None, activation, backend="native").flatten()
        assert torch.allclose(got, expected, rtol=1e-6, atol=1e-4), activation


@needs_library
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_nan_spreads_to_its_neighbours_only(activation: str) -> None:
    x = torch.ones(1, 5, 5, 2)
    x[0, 0, 0, 0] = float("nan")
    y = depthwise_conv(x, torch.ones(2, 1, 3, 3), None, activation, backend="native")
    expected = torch.zeros(1, 5, 5, 2, dtype=torch.bool)
    expected[0, :2, :2, 0] = True
    assert torch.equal(y.isnan(), expected)


@needs_library
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    values, grad = arguments((2, 64, 64, 48)), torch.randn(2, 64, 64, 48)
    threads, runs = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            runs.append(results(values, grad, backend="native", activation="silu"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@needs_library
def test_non_contiguous_features_and_gradients_give_the_same() -> None:
    wide, weight = torch.randn(2, 6, 5, 40), torch.randn(20, 1, 3, 3, requires_grad=True)
    x = wide[..., ::2].requires_grad_()
    grad = torch.randn(20, 2, 6, 5).permute(1, 2, 3, 0)
    got = results([x, weight, None], grad, backend="native")
    same = results([x.detach().clone().requires_grad_(), weight, None], grad.contiguous())
    assert all(torch.equal(a, b) for a, b in zip(got, same, strict=True))


@needs_library
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_inputs_are_computed_in_float32(dtype: torch.dtype) -> None:
    x, weight = torch.randn(1, 6, 5, 8).to(dtype).requires_grad_(), torch.randn(8, 1, 3, 3)
    y = depthwise_conv(x, weight, None, "silu", backend="native")
    expected = depthwise_conv(x.float(), weight, None, "silu", backend="reference")
    assert y.dtype is dtype
    # One unit in the last place.
    assert torch.allclose(y.float(), expected, rtol=torch.finfo(dtype).eps, atol=1e-6)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype is dtype


@needs_library
def test_the_operator_passes_opcheck_and_compiles() -> None:
    values = arguments((1, 4, 3, 6))
    torch.library.opcheck(torch.ops.unveil.depthwise.default, (*values, 1, 0.01, False))
    grad = torch.randn(1, 4, 3, 6)
    expected = results(values, grad, activation="silu")
    compiled = torch.compile(depthwise_conv, fullgraph=True, backend="aot_eager")
    y = compiled(*values, "silu")
    got = [y.detach(), *torch.autograd.grad(y, values, grad)]
    assert all(torch.equal(g, e) for g, e in zip(got, expected, strict=True))


def test_an_exported_graph_holds_plain_operations_only() -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return depthwise_conv(x, weight, None, "silu")

    x, weight = torch.randn(1, 4, 3, 6), torch.randn(6, 1, 3, 3)
    program = torch.export.export(Layer(), (x, weight))
    names = {str(node.target) for node in program.graph.nodes}
    assert not any("unveil" in name for name in names)
    expected = depthwise_conv(x, weight, None, "silu")
    assert torch.allclose(program.module()(x, weight), expected, rtol=1e-5, atol=1e-6)


def test_float64_and_empty_inputs_run_as_plain_operations() -> None:
    weight = torch.randn(3, 1, 3, 3, dtype=torch.float64)
    assert depthwise_conv(torch.randn(1, 2, 2, 3).double(), weight).dtype is torch.float64
    assert depthwise_conv(torch.randn(0, 2, 2, 3), weight.float()).shape == (0, 2, 2, 3)
    with pytest.raises(BackendUnavailableError, match="float64"):
        depthwise_conv(torch.randn(1, 2, 2, 3).double(), weight, backend="native")


@pytest.mark.parametrize(
    ("x", "weight", "options", "message"),
    [
        ((2, 3, 4), (4, 1, 3, 3), {}, r"x has shape \(2, 3, 4\), expected \(b, h, w, c\)"),
        ((1, 2, 3, 4), (3, 1, 3, 3), {}, r"weight has shape .* expected \(4, 1, 3, 3\)"),
        ((1, 2, 3, 4), (4, 1, 3, 3), {"bias": torch.zeros(1)}, r"bias has shape \(1,\)"),
        ((1, 2, 3, 4), (4, 1, 3, 3), {"activation": "relu"}, "activation is 'relu'"),
        ((1, 2, 3, 4), (4, 1, 3, 3), {"backend": "cuda"}, "backend is 'cuda'"),
    ],
)
def test_wrong_arguments_are_named(
    x: tuple[int, ...], weight: tuple[int, ...], options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        depthwise_conv(torch.zeros(x), torch.zeros(weight), **options)
