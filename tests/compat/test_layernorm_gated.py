import pytest
import torch
import torch.nn.functional as F

from unveil.compat.layernorm_gated import LayerNorm, RMSNormGated, layernorm_fn, rms_norm_ref
from unveil.errors import InputError


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("kind", [LayerNorm, RMSNormGated])
@pytest.mark.parametrize("group_size", [None, 4])
def test_groups_are_normalised_and_gated(before, kind, group_size):
    norm = kind(8, eps=1e-3, group_size=group_size, norm_before_gate=before).double()
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    x, z = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    values = x if before else x * F.silu(z)
    groups = values.reshape(3, 5, -1, group_size or 8)
    if kind is LayerNorm:
        groups = groups - groups.mean(-1, keepdim=True)
    groups = groups / (groups.square().mean(-1, keepdim=True) + 1e-3).sqrt()
    expected = groups.reshape(3, 5, 8) * norm.weight
    expected = expected if norm.bias is None else expected + norm.bias
    expected = expected * F.silu(z) if before else expected
    torch.testing.assert_close(norm(x, z), expected)


def test_without_a_gate_and_in_half_precision():
    x = torch.randn(4, 8)
    torch.testing.assert_close(
        layernorm_fn(x, torch.ones(8), torch.zeros(8)), F.layer_norm(x, (8,), eps=1e-6)
    )
    half = rms_norm_ref(x.bfloat16(), torch.ones(8), None)
    assert half.dtype is torch.bfloat16
    torch.testing.assert_close(half.float(), F.rms_norm(x, (8,), eps=1e-6), rtol=2e-2, atol=2e-2)


def test_groups_that_do_not_divide_are_named():
    with pytest.raises(InputError, match="group_size is 3, expected a divisor of 8 channels"):
        layernorm_fn(torch.zeros(2, 8), torch.ones(8), None, group_size=3)
