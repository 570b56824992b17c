"""The gated normalisation against PyTorch in float64."""

from collections.abc import Callable

import pytest
import torch

from unveil.errors import InputError
from unveil.ops import norm_gate


@pytest.mark.parametrize("shape", [(1, 3), (2, 5, 48), (7, 24), (3, 4, 5, 40), (1000, 96)])
@pytest.mark.parametrize("bias", [True, False])
def test_native_agrees_with_float64(
    shape: tuple[int, ...], bias: bool, leaves: Callable, agrees_with_float64: Callable
) -> None:
    x, gate, weight, shift = leaves(shape, shape, shape[-1:], shape[-1:])
    agrees_with_float64(norm_gate, x, gate, weight, shift if bias else None)


def test_results_do_not_depend_on_the_number_of_threads(
    leaves: Callable, same_on_two_threads: Callable
) -> None:
    same_on_two_threads(norm_gate, *leaves((5000, 40), (5000, 40), (40,), (40,)))


def test_it_compiles_and_exports(leaves: Callable, compiles_and_exports: Callable) -> None:
    compiles_and_exports(norm_gate, *leaves((2, 3, 8), (2, 3, 8), (8,), (8,)))


def test_the_operator_passes_opcheck(leaves: Callable) -> None:
    x, gate, weight, bias = leaves((2, 3, 8), (2, 3, 8), (8,), (8,))
    torch.library.opcheck(torch.ops.unveil.norm.default, (x, gate, weight, bias, 1e-5))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match=r"gate has shape \(2, 1\), expected \(2, 4\) as x"):
        norm_gate(torch.zeros(2, 4), torch.zeros(2, 1), torch.ones(4))
