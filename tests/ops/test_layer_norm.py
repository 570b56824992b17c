"""The layer normalisation of few channels against PyTorch in float64."""

from collections.abc import Callable

import pytest
import torch

from unveil.errors import BackendUnavailableError, InputError
from unveil.ops import layer_norm

# Fewer channels than lanes, a few whole vectors, tails, many rows, one long row.
SHAPES = [(1, 3), (2, 5, 48), (7, 24), (3, 4, 5, 40), (1000, 96), (2, 1030)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_native_agrees_with_float64(
    shape: tuple[int, ...], bias: bool, leaves: Callable, agrees_with_float64: Callable
) -> None:
    x, weight, shift = leaves(shape, shape[-1:], shape[-1:])
    agrees_with_float64(layer_norm, x, weight, shift if bias else None)


@pytest.mark.usefixtures("kernels")
def test_a_large_mean_costs_no_accuracy() -> None:
    x = torch.randn(50, 40) + 1000
    y = layer_norm(x, torch.ones(40), backend="native")
    expected = layer_norm(x.double(), torch.ones(40).double(), backend="reference")
    # The input itself holds the deviations to 1000 * 2^-24 = 6e-5 only; as good as PyTorch's.
    assert (y - expected).norm() / expected.norm() < 1e-4
    # The sum of a row is rounded a few times, each by up to 2^-24 of a mean of 1000.
    assert torch.allclose(y.mean(-1), torch.zeros(50), atol=3e-4)


@pytest.mark.usefixtures("kernels")
def test_a_constant_row_gives_the_bias() -> None:
    bias = torch.randn(20)
    y = layer_norm(torch.full((3, 20), 7.0), torch.ones(20), bias, backend="native")
    assert torch.equal(y, bias.expand(3, 20))


@pytest.mark.usefixtures("kernels")
def test_a_nan_spoils_its_row_only() -> None:
    x = torch.randn(3, 20)
    x[1, 17] = float("nan")
    y = layer_norm(x, torch.ones(20), backend="native")
    assert y[1].isnan().all()
    assert y[::2].isfinite().all()


def test_results_do_not_depend_on_the_number_of_threads(
    leaves: Callable, same_on_two_threads: Callable
) -> None:
    same_on_two_threads(layer_norm, *leaves((4, 50, 50, 48), (48,), (48,)))


def test_it_compiles_and_exports(leaves: Callable, compiles_and_exports: Callable) -> None:
    compiles_and_exports(layer_norm, *leaves((2, 3, 8), (8,), (8,)))


def test_the_operator_passes_opcheck(leaves: Callable) -> None:
    x, weight = leaves((2, 3, 8), (8,))
    torch.library.opcheck(torch.ops.unveil.norm.default, (x, None, weight, None, 1e-5))


def test_the_operator_runs_without_a_library(
    leaves: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight = leaves((2, 3, 8), (8,))
    grad = torch.randn(2, 3, 8)
    expected = torch.autograd.grad(layer_norm(x, weight, backend="reference"), (x, weight), grad)
    monkeypatch.setattr("unveil.ops._fused.library", lambda: None)
    y = torch.ops.unveil.norm(x, None, weight, None, 1e-5)
    got = torch.autograd.grad(y, (x, weight), grad)
    assert all(torch.allclose(g, e) for g, e in zip(got, expected, strict=True))


def test_without_a_library_auto_runs_and_native_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.ops.dispatch.library", lambda: None)
    x, weight = torch.randn(2, 8), torch.ones(8)
    assert torch.equal(layer_norm(x, weight), layer_norm(x, weight, backend="reference"))
    with pytest.raises(BackendUnavailableError):
        layer_norm(x, weight, backend="native")


@pytest.mark.usefixtures("kernels")
def test_a_second_derivative_is_refused(leaves: Callable) -> None:
    x, weight = leaves((2, 8), (8,))
    y = layer_norm(x, weight, backend="native")
    with pytest.raises(BackendUnavailableError, match="second derivatives"):
        torch.autograd.grad(y.square().sum(), x, create_graph=True)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match=r"weight has shape \(3,\), expected \(4,\)"):
        layer_norm(torch.zeros(2, 4), torch.ones(3))
    with pytest.raises(InputError, match=r"x has shape \(\), expected"):
        layer_norm(torch.tensor(1.0), torch.ones(1))
