import pytest
import torch
import torch.nn.functional as F

from unveil.layers.convolution import Conv3x3, Depthwise3x3, GatedDepthwise3x3, resampling
from unveil.layers.functional import pixel_shuffle_last, pixel_unshuffle_last


def test_convolutions_agree_with_pytorchs_channels_first():
    x = torch.randn(2, 5, 7, 6)
    first = x.permute(0, 3, 1, 2)
    dense, depth, gated = Conv3x3(6, 4), Depthwise3x3(6, activation="silu"), GatedDepthwise3x3(3)
    for layer in (dense, depth, gated):
        torch.nn.init.normal_(layer.bias)
    expected = F.conv2d(first, dense.weight, dense.bias, padding=1)
    torch.testing.assert_close(dense(x), expected.permute(0, 2, 3, 1))
    expected = F.silu(F.conv2d(first, depth.weight, depth.bias, padding=1, groups=6))
    torch.testing.assert_close(depth(x), expected.permute(0, 2, 3, 1))
    one, two = F.conv2d(first, gated.weight, gated.bias, padding=1, groups=6).chunk(2, 1)
    torch.testing.assert_close(gated(x), (one * two).permute(0, 2, 3, 1))


def test_unshuffling_gathers_each_neighbourhood_and_shuffling_undoes_it():
    x = torch.arange(2 * 4 * 6 * 3.0).view(2, 4, 6, 3)
    y = pixel_unshuffle_last(x, 2)
    torch.testing.assert_close(y[0, 1, 2], x[0, 2:4, 4:6].flatten())
    torch.testing.assert_close(pixel_shuffle_last(y, 2), x)


@pytest.mark.parametrize("form", ["convolution", "patch"])
def test_resampling_halves_and_doubles(form):
    down, up = resampling(form)
    assert down(8, 12)(torch.zeros(1, 6, 4, 8)).shape == (1, 3, 2, 12)
    assert up(12, 8)(torch.zeros(1, 3, 2, 12)).shape == (1, 6, 4, 8)
