"""The papers' blocks in double precision against plain loops and PyTorch's own operations."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unveil.layers.attention import ChannelAttention
from unveil.layers.channel_ssm import ChannelSSMOptions
from unveil.layers.mamba import MambaBlock, VisionSSM
from unveil.models.cu_mamba import ChannelBlock, SpatialBlock
from unveil.models.mtair import DualBlock, PlainBlock

ORDERS = ("row", "column", "row_reversed", "column_reversed")


def _scattered(block):
    """Return a block in double precision without parameters that are 0 or 1 by chance."""
    block = block.double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block


def _features(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def _convolved(x, conv):
    y = F.conv2d(x.permute(0, 3, 1, 2), conv.weight, conv.bias, padding=1, groups=x.shape[-1])
    return y.permute(0, 2, 3, 1)


def _normed(x, norm):
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)


def _recurrence(tokens, scan, k):
    """Return ``y_t = C_t h_t + D u_t`` of order k's parameters for ``(length, d)``."""
    r, n = scan.dt_rank, scan.d_state
    projected = F.linear(tokens, scan.x_proj.weight.chunk(len(scan.orders))[k])
    low_rank, B, C = projected.split([r, n, n], -1)
    delta = F.softplus(low_rank @ scan.dt_weight[k].t() + scan.dt_bias[k])
    h, out = torch.zeros(tokens.shape[1], n, dtype=torch.float64), []
    for u, step, b, c in zip(tokens, delta, B, C, strict=True):
        decay = torch.exp(-step[:, None] * scan.A_log[k].exp())
        h = decay * h + (step * u)[:, None] * b
        out.append(h @ c + scan.D[k] * u)
    return torch.stack(out)


def _scanned(u, scan):
    """Return the sum over the scan's orders of one image ``(h, w, d)``, by walking it."""
    height, width, _ = u.shape
    total = torch.zeros_like(u)
    for k, order in enumerate(scan.orders):
        path = [(i, j) for i in range(height) for j in range(width)]
        if order.startswith("column"):
            path = [(i, j) for j in range(width) for i in range(height)]
        if order.endswith("reversed"):
            path.reverse()
        rows, columns = map(list, zip(*path, strict=True))
        there = torch.zeros_like(u)
        there[rows, columns] = _recurrence(u[rows, columns], scan, k)
        total = total + there
    return total


@pytest.mark.parametrize("orders", [("row",), ORDERS])
def test_the_mamba_block_is_its_figure_written_plainly(orders):
    block = _scattered(MambaBlock(6, d_state=3, d_conv=4, orders=orders))
    x = _features(1, 3, 4, 6)
    u, z = F.linear(x[0], block.in_proj.weight).chunk(2, -1)
    taps, tokens = block.conv.weight[:, 0], u.reshape(12, -1)
    padded = torch.cat([torch.zeros(3, tokens.shape[1], dtype=torch.float64), tokens])
    causal = [(taps * padded[t : t + 4].t()).sum(1) + block.conv.bias for t in range(12)]
    u = F.silu(torch.stack(causal)).view_as(u)
    expected = F.linear(_scanned(u, block.scan) * F.silu(z), block.out_proj.weight)
    torch.testing.assert_close(block(x)[0], expected)


def test_the_vision_module_normalises_before_the_gate():
    block = _scattered(VisionSSM(6, d_state=3))
    x = _features(1, 3, 4, 6)
    u, z = F.linear(x, block.in_proj.weight).chunk(2, -1)
    y = _scanned(F.silu(_convolved(u, block.conv))[0], block.scan)
    expected = F.linear(_normed(y, block.norm) * F.silu(z[0]), block.out_proj.weight)
    torch.testing.assert_close(block(x)[0], expected)


@pytest.mark.parametrize("mixes", [True, False])
def test_the_spatial_block_puts_mamba_after_the_convolutions(mixes):
    block = _scattered(SpatialBlock(6, MambaBlock(6, d_state=2) if mixes else None))
    x = _features(2, 3, 4, 6)
    pointwise = F.linear(_normed(x, block.norm), block.pointwise.weight, block.pointwise.bias)
    y = _convolved(pointwise, block.depthwise)
    torch.testing.assert_close(block(x), x + (block.mixer(y) if mixes else y))


@pytest.mark.parametrize("mixes", [True, False])
def test_the_channel_block_scans_gates_and_smooths(mixes):
    block = _scattered(ChannelBlock(6, ChannelSSMOptions(d_state=2) if mixes else None))
    x = _features(2, 3, 4, 6)
    pointwise = F.linear(_normed(x, block.norm), block.pointwise.weight, block.pointwise.bias)
    y = _convolved(pointwise, block.depthwise)
    if mixes:
        u, z = y.chunk(2, -1)
        padded = F.pad(u, (3, 0))
        # The last tap is the present channel, the others are the channels before it.
        along = sum(block.taps[i] * padded[..., i : i + 6] for i in range(4)) + block.taps_bias
        y = F.linear(block.scan(F.silu(along)) * F.silu(z), block.out_proj.weight)
    for conv in block.smooth:
        y = F.leaky_relu(_convolved(y, conv), 0.2)
    torch.testing.assert_close(block(x), x + y)


@pytest.mark.parametrize("branches", ["both", "spatial", "channel"])
def test_the_dual_block_adds_its_branches_side_by_side(branches):
    attention = None if branches == "spatial" else ChannelAttention(8, 2)
    scan = None if branches == "channel" else VisionSSM(8, d_state=2)
    block = _scattered(DualBlock(8, attention, scan, 2.0))
    x = _features(2, 3, 4, 8)
    y, expected = _normed(x, block.norm), x
    if attention is not None:
        expected = expected + attention(y) * block.attention_scale
    if scan is not None:
        expected = expected + scan(y) * block.scan_scale
    expected = expected + block.ffn(_normed(expected, block.ffn_norm))
    torch.testing.assert_close(block(x), expected)


def test_the_plain_block_is_attention_then_feed_forward():
    block = _scattered(PlainBlock(8, ChannelAttention(8, 2), 2.0))
    x = _features(2, 3, 4, 8)
    y = x + block.attention(_normed(x, block.norm))
    torch.testing.assert_close(block(x), y + block.ffn(_normed(y, block.ffn_norm)))
