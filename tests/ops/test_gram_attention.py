"""Attention from inner products against plain operations in float64, and as an operator."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unveil.errors import BackendUnavailableError, InputError
from unveil.ops import gram_attention

# Images, channels, outputs, heads: one of each, heads of no whole vector, an odd number of outputs.
CASES = [(1, 16, 16, 1), (3, 48, 48, 1), (2, 96, 80, 2), (5, 160, 160, 4), (2, 32, 7, 8)]


def arguments(images: int, c: int, outputs: int, heads: int) -> list[Tensor]:
    x = torch.randn(images, 3 * c, c)
    shapes = [(outputs, c), (c, c), (c, c), (c, c)]
    weights = [torch.randn(shape) / c**0.5 for shape in shapes]
    given = [x.mT @ x / (3 * c), *weights, 1 + torch.rand(heads, 1, 1)]
    return [tensor.requires_grad_() for tensor in given]


@pytest.mark.parametrize(("images", "c", "outputs", "heads"), CASES)
def test_native_agrees_with_float64(
    images: int, c: int, outputs: int, heads: int, agrees_with_float64: Callable
) -> None:
    agrees_with_float64(gram_attention, *arguments(images, c, outputs, heads))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("factor", [1e-12, 1e4])
def test_tiny_and_large_logits_agree_with_plain_operations(factor: float) -> None:
    gram, *weights, temperature = arguments(2, 32, 32, 2)
    given = [gram * factor, *weights, temperature * factor]
    exact = [tensor.double() for tensor in given]
    expected = gram_attention(*exact, backend="reference")
    got = gram_attention(*given, backend="native")
    assert (got - expected).norm() < 1e-3 * expected.norm()


def test_results_do_not_depend_on_the_number_of_threads(same_on_two_threads: Callable) -> None:
    same_on_two_threads(gram_attention, *arguments(5, 64, 64, 2))


def test_it_compiles_and_exports(compiles_and_exports: Callable) -> None:
    def symmetric(x: Tensor, *others: Tensor, **options: Any) -> Tensor:
        return gram_attention(x + x.mT, *others, **options)

    compiles_and_exports(symmetric, *arguments(2, 16, 16, 2))


def test_the_operator_passes_opcheck() -> None:
    given = arguments(2, 16, 16, 2)
    torch.library.opcheck(torch.ops.unveil.gram_attention.default, tuple(given))


def test_other_numbers_of_channels_run_as_plain_operations() -> None:
    given = arguments(2, 12, 12, 3)
    assert gram_attention(*given).shape == (2, 12, 12)
    with pytest.raises(BackendUnavailableError, match="12 channels are no multiple of 16"):
        gram_attention(*given, backend="native")


def test_wrong_arguments_are_named() -> None:
    gram, out, query, key, value, temperature = arguments(2, 16, 8, 2)
    with pytest.raises(InputError, match=r"gram has shape \(16, 16\), expected \(b, c, c\)"):
        gram_attention(gram[0], out, query, key, value, temperature)
    with pytest.raises(InputError, match=r"out has shape \(8, 15\), expected \(o, 16\)"):
        gram_attention(gram, out[:, :15], query, key, value, temperature)
    with pytest.raises(InputError, match=r"key has shape \(8, 16\), expected \(16, 16\)"):
        gram_attention(gram, out, query, key[:8], value, temperature)
    with pytest.raises(InputError, match=r"temperature has shape \(3, 1, 1\)"):
        gram_attention(gram, out, query, key, value, torch.ones(3, 1, 1))
