"""Attention to tokens in one pass against plain operations in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unveil.errors import BackendUnavailableError, InputError
from unveil.ops import token_attention

Case = tuple[tuple[int, int, int], int, int, int, int]

# Pixels, channels, tokens, heads, sets: one pixel, odd tails, several blocks, a set per image.
CASES: list[Case] = [
    ((1, 1, 1), 16, 2, 1, 1),
    ((3, 5, 7), 48, 64, 4, 3),
    ((2, 11, 23), 96, 64, 4, 1),
    ((2, 3, 131), 160, 6, 2, 2),
]


def arguments(pixels: tuple[int, int, int], c: int, tokens: int, sets: int) -> list[Tensor]:
    shapes = [(*pixels, c), (*pixels, c), (sets, c), (sets, tokens, c), (sets, c, tokens)]
    return [torch.randn(shape) for shape in (*shapes, (sets, c, c))]


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("pixels", "c", "tokens", "heads", "sets"), CASES)
def test_native_agrees_with_float64(
    pixels: tuple[int, int, int], c: int, tokens: int, heads: int, sets: int
) -> None:
    given = arguments(pixels, c, tokens, sets)
    x, y, gain, keys, values, matrix = (t.double() for t in given)
    scores = torch.einsum("bhwc,btc->bhwt", y, keys.expand(len(x), -1, -1))
    weights = scores.unflatten(-1, (heads, -1)).softmax(-1).flatten(-2)
    expected = (
        x * gain[:, None, None]
        + torch.einsum("bhwt,bct->bhwc", weights, values.expand(len(x), -1, -1))
        + torch.einsum("bhwc,boc->bhwo", y, matrix.expand(len(x), -1, -1))
    )
    for backend in ("native", "reference"):
        got = token_attention(*given, heads=heads, backend=backend)
        assert (got - expected).norm() < 2e-6 * expected.norm()


@pytest.mark.usefixtures("kernels")
def test_large_scores_do_not_overflow() -> None:
    given = arguments((1, 4, 9), 16, 8, 1)
    given[3] *= 1e4
    expected = token_attention(*given, heads=2, backend="reference")
    assert torch.allclose(token_attention(*given, heads=2, backend="native"), expected, atol=1e-4)


@pytest.mark.usefixtures("kernels")
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    given, threads, runs = arguments((2, 64, 110), 48, 64, 2), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            runs.append(token_attention(*given, heads=4, backend="native"))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*runs)


@pytest.mark.parametrize(("pixels", "c", "tokens", "heads", "sets"), CASES)
def test_gradients_agree_with_float64(
    pixels: tuple[int, int, int],
    c: int,
    tokens: int,
    heads: int,
    sets: int,
    agrees_with_float64: Callable,
) -> None:
    given = [t.requires_grad_() for t in arguments(pixels, c, tokens, sets)]
    given[3] = (given[3].detach() / c**0.5).requires_grad_()
    agrees_with_float64(token_attention, *given, heads=heads)


def test_gradients_do_not_depend_on_the_number_of_threads(same_on_two_threads: Callable) -> None:
    given = [t.requires_grad_() for t in arguments((2, 16, 110), 16, 8, 1)]
    same_on_two_threads(token_attention, *given, heads=4)


def test_it_compiles_and_exports(compiles_and_exports: Callable) -> None:
    given = [t.requires_grad_() for t in arguments((2, 2, 3), 16, 4, 2)]
    compiles_and_exports(token_attention, *given, heads=2)


def test_the_operator_passes_opcheck() -> None:
    given = [t.requires_grad_() for t in arguments((2, 2, 3), 16, 4, 1)]
    torch.library.opcheck(torch.ops.unveil.token_attention.default, (*given, 2))


def test_wrong_arguments_are_named() -> None:
    x, y, gain, keys, values, matrix = arguments((2, 2, 3), 16, 4, 1)
    narrow = arguments((1, 2, 3), 8, 4, 1)
    with pytest.raises(InputError, match="4 tokens do not divide into 3 heads"):
        token_attention(x, y, gain, keys, values, matrix, heads=3)
    with pytest.raises(InputError, match=r"x has shape \(2, 3, 16\)"):
        token_attention(x[0], y, gain, keys, values, matrix, heads=2)
    with pytest.raises(InputError, match=r"keys has shape \(1, 4, 8\), expected \(2, t, 16\)"):
        token_attention(x, y, gain, keys[..., :8], values, matrix, heads=2)
    with pytest.raises(InputError, match=r"values has shape \(1, 16, 3\)"):
        token_attention(x, y, gain, keys, values[..., :3], matrix, heads=2)
    with pytest.raises(BackendUnavailableError, match="8 channels are no multiple of 16"):
        token_attention(*narrow, heads=2, backend="native")
