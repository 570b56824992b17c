"""The pointwise convolution in one pass against PyTorch in float64, and as an operator."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unveil.errors import BackendUnavailableError, InputError
from unveil.ops import channel_gram, pointwise_conv

# One pixel, an odd number of them, several stretches of a row, several images.
PIXELS = [(1, 1, 1), (3, 5, 7), (2, 3, 211)]


def arguments(
    pixels: tuple[int, ...], c: int, o: int, *, sampling: str = "none", images: int | None = None
) -> list[Tensor]:
    b, h, w = pixels
    large, small = (b, 2 * h, 2 * w), pixels
    x = torch.randn(*(large if sampling == "down" else small), c)
    matrices = () if images is None else (images,)
    weight = torch.randn(*matrices, o, c * (4 if sampling == "down" else 1))
    residual = torch.randn(*large, o // 4) if sampling == "up" else torch.randn(*small, o)
    return [tensor.requires_grad_() for tensor in (x, weight, residual)]


@pytest.mark.parametrize("pixels", PIXELS)
@pytest.mark.parametrize("sampling", ["none", "down", "up"])
@pytest.mark.parametrize("channels", [(16, 32), (48, 96), (160, 64)])
def test_native_agrees_with_float64(
    pixels: tuple[int, ...],
    sampling: str,
    channels: tuple[int, int],
    agrees_with_float64: Callable,
) -> None:
    given = arguments(pixels, *channels, sampling=sampling)
    agrees_with_float64(pointwise_conv, *given, sampling=sampling)
    agrees_with_float64(pointwise_conv, *given[:2], sampling=sampling)


@pytest.mark.parametrize("images", [1, 3])
def test_a_matrix_per_image_agrees_with_float64(images: int, agrees_with_float64: Callable) -> None:
    agrees_with_float64(pointwise_conv, *arguments((3, 9, 31), 32, 48, images=images))


def test_a_second_input_agrees_with_float64(agrees_with_float64: Callable) -> None:
    x, weight, residual = arguments((2, 9, 31), 32, 48)
    second = torch.randn_like(x).requires_grad_()
    both = torch.cat([weight, torch.randn_like(weight)], 1).detach().requires_grad_()
    agrees_with_float64(pointwise_conv, x, both, residual, second)
    agrees_with_float64(pointwise_conv, x, both, None, second)


@pytest.mark.parametrize("pixels", PIXELS)
@pytest.mark.parametrize("channels", [16, 48, 160])
def test_inner_products_agree_with_float64(
    pixels: tuple[int, ...], channels: int, agrees_with_float64: Callable
) -> None:
    agrees_with_float64(channel_gram, torch.randn(*pixels, channels).requires_grad_())


def test_results_do_not_depend_on_the_number_of_threads(same_on_two_threads: Callable) -> None:
    same_on_two_threads(pointwise_conv, *arguments((2, 64, 110), 32, 48))
    same_on_two_threads(channel_gram, torch.randn(2, 64, 110, 64).requires_grad_())


@pytest.mark.parametrize("sampling", ["none", "down", "up"])
def test_it_compiles_and_exports(sampling: str, compiles_and_exports: Callable) -> None:
    compiles_and_exports(
        pointwise_conv, *arguments((1, 4, 3), 16, 32, sampling=sampling), sampling=sampling
    )
    compiles_and_exports(channel_gram, torch.randn(1, 4, 3, 16).requires_grad_())


@pytest.mark.parametrize("sampling", ["none", "down", "up"])
def test_the_operators_pass_opcheck(sampling: str) -> None:
    x, weight, residual = arguments((1, 4, 3), 16, 32, sampling=sampling)
    kind = ["none", "down", "up"].index(sampling)
    operator = torch.ops.unveil.pointwise_conv.default
    torch.library.opcheck(operator, (x, None, weight, residual, kind))


def test_the_operator_of_inner_products_passes_opcheck() -> None:
    x = torch.randn(1, 4, 3, 16).requires_grad_()
    torch.library.opcheck(torch.ops.unveil.channel_gram.default, (x,))


def test_other_numbers_of_channels_run_as_plain_operations() -> None:
    x, weight, residual = arguments((2, 4, 3), 7, 5)
    expected = residual + x @ weight.t()
    assert torch.allclose(pointwise_conv(x, weight, residual), expected, atol=1e-5)
    with pytest.raises(BackendUnavailableError, match="7 channels and 5 outputs"):
        pointwise_conv(x, weight, residual, backend="native")
    with pytest.raises(BackendUnavailableError, match="7 channels"):
        channel_gram(x, backend="native")


def test_without_a_fast_kernel_it_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    given = arguments((2, 5, 7), 16, 32)
    expected, inner = pointwise_conv(*given), channel_gram(given[0])
    monkeypatch.setattr("unveil.ops.dispatch.has_fast_products", lambda _: False)
    assert (pointwise_conv(*given) - expected).norm() < 2e-6 * expected.norm()
    assert (channel_gram(given[0]) - inner).norm() < 2e-6 * inner.norm()


def test_wrong_arguments_are_named() -> None:
    x, weight, residual = arguments((2, 4, 3), 16, 32)
    with pytest.raises(InputError, match=r"x has shape \(4, 3, 16\), expected \(b, h, w, c\)"):
        pointwise_conv(x[0], weight)
    with pytest.raises(InputError, match=r"x has shape \(4, 3, 16\), expected \(b, h, w, c\)"):
        channel_gram(x[0])
    with pytest.raises(InputError, match=r"weight has shape \(32, 16\), expected \(o, 64\)"):
        pointwise_conv(x[:, :, :2], weight, sampling="down")
    with pytest.raises(InputError, match="x is 4×3; expected an even height and width"):
        pointwise_conv(x, weight, sampling="down")
    with pytest.raises(InputError, match=r"residual has shape \(2, 4, 3, 32\), expected"):
        pointwise_conv(x, weight, residual, sampling="up")
    with pytest.raises(InputError, match=r"second has shape \(1, 4, 3, 16\)"):
        pointwise_conv(x, weight, second=x[:1])
    with pytest.raises(InputError, match="weight has 30 rows, expected a multiple of 4"):
        pointwise_conv(x, weight[:30], sampling="up")
    with pytest.raises(InputError, match="sampling is 'left'"):
        pointwise_conv(x, weight, sampling="left")
