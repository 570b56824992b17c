"""The SiLU gate against PyTorch in float64."""

from collections.abc import Callable

import pytest
import torch

from unveil.errors import InputError
from unveil.ops import silu_gate


@pytest.mark.parametrize("shape", [(1,), (15,), (2, 3, 5), (4, 16384), (3, 100_003)])
def test_native_agrees_with_float64(
    shape: tuple[int, ...], leaves: Callable, agrees_with_float64: Callable
) -> None:
    agrees_with_float64(silu_gate, *leaves(shape, shape))


def test_results_do_not_depend_on_the_number_of_threads(
    leaves: Callable, same_on_two_threads: Callable
) -> None:
    same_on_two_threads(silu_gate, *leaves((500_001,), (500_001,)))


@pytest.mark.usefixtures("kernels")
def test_non_contiguous_halves_of_one_tensor_are_taken() -> None:
    both = torch.randn(6, 20)
    x, gate = both.chunk(2, -1)
    expected = silu_gate(x, gate, backend="reference")
    assert torch.allclose(silu_gate(x, gate, backend="native"), expected, rtol=1e-6)


def test_it_compiles_and_exports(leaves: Callable, compiles_and_exports: Callable) -> None:
    compiles_and_exports(silu_gate, *leaves((2, 3, 8), (2, 3, 8)))


def test_the_operator_passes_opcheck(leaves: Callable) -> None:
    torch.library.opcheck(torch.ops.unveil.silu_gate.default, tuple(leaves((2, 8), (2, 8))))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match=r"gate has shape \(2, 1\), expected \(2, 4\) as x"):
        silu_gate(torch.zeros(2, 4), torch.zeros(2, 1))
