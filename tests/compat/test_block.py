import pytest
import torch
from torch import nn

from unveil.compat.block import Block, SimpleBlock
from unveil.compat.layer_norm import RMSNorm
from unveil.compat.mamba_simple import Mamba
from unveil.errors import InputError


@pytest.mark.parametrize("norm", [nn.LayerNorm, RMSNorm])
def test_one_call_for_sum_and_norm_gives_what_two_give(norm):
    torch.manual_seed(0)
    block = SimpleBlock(6, Mamba, norm, fused_add_norm=True, residual_in_fp32=True)
    x, residual = torch.randn(2, 2, 9, 6)
    fused, total = block(x, residual)
    block.fused_add_norm = False
    apart, same = block(x, residual)
    torch.testing.assert_close(fused, apart)
    torch.testing.assert_close(total, same)
    torch.testing.assert_close(total, x + residual)
    assert block(x)[1] is x


def test_an_mlp_follows_with_a_norm_of_its_own():
    block = Block(6, Mamba, lambda dim: nn.Linear(dim, dim))
    x = torch.randn(2, 9, 6)
    out, residual = block(x)
    mixed, first = SimpleBlock.forward(block, x)
    torch.testing.assert_close(residual, mixed + first)
    torch.testing.assert_close(out, block.mlp(block.norm2(residual)))
    assert Block(6, Mamba, nn.Identity).mlp is None


def test_another_norm_cannot_be_fused():
    with pytest.raises(InputError, match="takes LayerNorm or RMSNorm, the norm is Identity"):
        SimpleBlock(6, Mamba, nn.Identity, fused_add_norm=True)
