"""The causal convolution against PyTorch in float64, in every scan order."""

from collections.abc import Callable

import pytest
import torch

from unveil.errors import BackendUnavailableError, InputError
from unveil.ops import causal_conv1d

ORDERS = ["row", "column", "row_reversed", "column_reversed"]


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 2, 16), (3, 5, 40), (1, 256, 20), (2, 700, 17)])
@pytest.mark.parametrize("taps", [1, 2, 4])
@pytest.mark.parametrize("activation", ["none", "silu"])
@pytest.mark.parametrize("order", ["row", "row_reversed"])
def test_native_agrees_with_float64(
    shape: tuple[int, ...],
    taps: int,
    activation: str,
    order: str,
    leaves: Callable,
    agrees_with_float64: Callable,
) -> None:
    d = shape[-1]
    tensors = leaves(shape, (d, 1, taps), (d,))
    agrees_with_float64(causal_conv1d, *tensors, activation=activation, order=order)


@pytest.mark.parametrize("shape", [(1, 1, 5, 3), (2, 3, 4, 16), (1, 23, 31, 24)])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bias", [True, False])
def test_images_agree_with_float64(
    shape: tuple[int, ...],
    order: str,
    bias: bool,
    leaves: Callable,
    agrees_with_float64: Callable,
) -> None:
    x, weight, shift = leaves(shape, (shape[-1], 1, 4), shape[-1:])
    agrees_with_float64(causal_conv1d, x, weight, shift if bias else None, order=order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.usefixtures("kernels")
def test_a_token_changes_only_what_comes_later_in_the_order(order: str, backend: str) -> None:
    height, width = 3, 4
    x, weight = torch.zeros(1, height, width, 1), torch.ones(1, 1, 4)
    x[0, 1, 2] = 1.0
    y = causal_conv1d(x, weight, activation="none", order=order, backend=backend)[0, :, :, 0]
    tokens = y.mT.reshape(-1) if order.startswith("column") else y.reshape(-1)
    tokens = tokens.flip(0) if order.endswith("reversed") else tokens
    first = {"row": 6, "column": 7, "row_reversed": 5, "column_reversed": 4}[order]
    expected = torch.zeros(12)
    expected[first : first + 4] = 1.0
    assert torch.equal(tokens, expected)


def test_results_do_not_depend_on_the_number_of_threads(
    leaves: Callable, same_on_two_threads: Callable
) -> None:
    same_on_two_threads(causal_conv1d, *leaves((2, 4000, 48), (48, 1, 4), (48,)))


def test_it_compiles_and_exports(leaves: Callable, compiles_and_exports: Callable) -> None:
    compiles_and_exports(causal_conv1d, *leaves((1, 5, 8), (8, 1, 4), (8,)))


def test_the_operator_passes_opcheck(leaves: Callable) -> None:
    values = leaves((1, 2, 5, 8), (8, 1, 4), (8,))
    torch.library.opcheck(torch.ops.unveil.causal_conv.default, (*values, True, False, True))


def test_more_than_four_taps_run_as_plain_operations(leaves: Callable) -> None:
    x, weight = leaves((1, 9, 2), (2, 1, 6))
    assert causal_conv1d(x, weight).shape == (1, 9, 2)
    with pytest.raises(BackendUnavailableError, match="6 taps, expected at most 4"):
        causal_conv1d(x, weight, backend="native")


@pytest.mark.parametrize(
    ("x", "weight", "options", "message"),
    [
        ((2, 3), (3, 1, 4), {}, r"x has shape \(2, 3\), expected \(b, l, d\) or \(b, h, w, d\)"),
        ((1, 2, 3), (3, 4), {}, r"weight has shape \(3, 4\), expected \(3, 1, taps\)"),
        ((1, 2, 3), (3, 1, 4), {"bias": torch.zeros(1)}, r"bias has shape \(1,\)"),
        ((1, 2, 3), (3, 1, 4), {"order": "column"}, "order is 'column', expected one of row"),
        ((1, 2, 3), (3, 1, 4), {"activation": "gelu"}, "activation is 'gelu'"),
    ],
)
def test_wrong_arguments_are_named(
    x: tuple[int, ...], weight: tuple[int, ...], options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        causal_conv1d(torch.zeros(x), torch.zeros(weight), **options)
