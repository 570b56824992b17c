"""Scans in several directions, held to float64 with the tests' own loop."""

import pytest
import torch
import torch.nn.functional as F

from unveil.compat.mamba_inner import (
    bimamba_inner_fn,
    bimamba_inner_ref,
    mamba_inner_fn,
    mamba_inner_fn_no_out_proj,
)
from unveil.compat.mamba_simple import Mamba
from unveil.errors import InputError


def relative(actual, expected):
    return ((actual.double() - expected).norm() / expected.norm()).item()


def branch(xz, conv, bias, x_proj, dt_proj, n):
    """Return u, delta, B, C and the gate of a block, channels first."""
    u, z = xz.chunk(2, dim=1)
    past = F.pad(u, (conv.shape[-1] - 1, 0)).unfold(-1, conv.shape[-1], 1)
    u = F.silu((past * conv).sum(-1) + bias[:, None])
    rank = dt_proj.shape[1]
    low_rank, B, C = (x_proj @ u).split([rank, n, n], dim=1)
    return u, dt_proj @ low_rank, B, C, z


def drawn(d=6, n=4, rank=2, d_model=5, length=23):
    torch.manual_seed(0)
    shapes = [(2, 2 * d, length), (d, 1, 4), (d,), (rank + 2 * n, d), (d, rank)]
    xz, conv, bias, x_proj, dt_proj = (torch.randn(s, dtype=torch.float64) / 2 for s in shapes)
    out_proj = torch.randn(d_model, d, dtype=torch.float64)
    A, A_b = -torch.rand(2, d, n, dtype=torch.float64) - 0.1
    D, delta_bias = torch.randn(2, d, dtype=torch.float64)
    return (xz, conv, bias, x_proj, dt_proj), out_proj, A, A_b, D, delta_bias


def test_both_ways_with_shared_projections(plain_scan):
    inside, out_proj, A, A_b, D, delta_bias = drawn()
    u, delta, B, C, z = branch(*inside, A.shape[1])
    y, _ = plain_scan(u, delta, A, B, C, D, z, delta_bias, True)
    turned = [t.flip(-1) for t in (u, delta, B, C, z)]
    y_b, _ = plain_scan(*turned[:2], A_b, *turned[2:4], D, turned[4], delta_bias, True)
    expected = (y + y_b.flip(-1)).mT @ out_proj.T
    for function, dtype, tolerance in (
        (bimamba_inner_fn, torch.float32, 2e-6),
        (bimamba_inner_ref, torch.float64, 1e-12),
    ):
        given = [t.to(dtype) for t in (*inside, out_proj)]
        found = function(
            *given, None, A.to(dtype), A_b.to(dtype), D=D.to(dtype), delta_bias=delta_bias.to(dtype)
        )
        assert relative(found, expected) < tolerance


def test_without_the_output_projection_channels_come_first():
    inside, out_proj, A, _, D, delta_bias = drawn()
    y = mamba_inner_fn_no_out_proj(*inside, A, D=D, delta_bias=delta_bias)
    whole = mamba_inner_fn(*inside, out_proj, None, A, D=D, delta_bias=delta_bias)
    assert y.shape == (2, 6, 23)
    torch.testing.assert_close(y.mT @ out_proj.T, whole)


def direction(block, xz, suffix, plain_scan):
    parts = [getattr(block, f"{name}{suffix}") for name in ("conv1d", "x_proj", "dt_proj")]
    conv, x_proj, dt_proj = parts
    n = block.d_state
    u, delta, B, C, z = branch(xz, conv.weight, conv.bias, x_proj.weight, dt_proj.weight, n)
    A = -getattr(block, f"A{suffix}_log").exp()
    return plain_scan(u, delta, A, B, C, getattr(block, f"D{suffix}"), z, dt_proj.bias, True)[0]


def in_float64(block, x, extra, plain_scan):
    """Compute a block of several directions from its parameters."""
    xz = (x @ block.in_proj.weight.T).mT
    total = direction(block, xz, "", plain_scan)
    if extra is not None:
        other = (extra @ block.in_proj_extra.weight.T).mT
        total = total + direction(block, other, "_b", plain_scan)
    else:
        total = total + direction(block, xz.flip(-1), "_b", plain_scan).flip(-1)
    if block.nslices is not None:
        tokens = torch.arange(x.shape[1]).view(block.nslices, -1).T.flatten()
        y = direction(block, xz[..., tokens], "_s", plain_scan)
        total = total + torch.zeros_like(y).index_copy(-1, tokens, y)
    total = total.mT / (2 if block.if_divide_out else 1)
    total = total if block.norm is None else block.norm(total)
    out = total @ block.out_proj.weight.T
    return out if block.init_layer_scale is None else out * block.gamma


@pytest.mark.parametrize(
    "options",
    [
        {"bimamba_type": "v2"},
        {"bimamba": True, "if_devide_out": True, "init_layer_scale": 0.5},
        {"bimamba_type": "v2", "use_norm": True, "if_divide_out": True},
        {"bimamba_type": "v3", "nslices": 4},
        {"bimamba_type": "v3"},
    ],
)
def test_blocks_of_several_directions_and_their_gradients(options, plain_scan):
    block = Mamba(6, d_state=4, **options)
    for suffix in ("", "_b", "_s"):
        if hasattr(block, f"A{suffix}_log"):
            torch.nn.init.uniform_(getattr(block, f"A{suffix}_log"))
    x = torch.randn(2, 20, 6)
    two = options.get("bimamba_type") == "v3" and "nslices" not in options
    extra = torch.randn(2, 20, 6) if two else None
    out = block(x, extra_emb=extra)
    out.square().sum().backward()
    found = {name: p.grad.clone() for name, p in block.named_parameters()}
    block.zero_grad()
    block.double()
    expected = in_float64(block, x.double(), extra if extra is None else extra.double(), plain_scan)
    expected.square().sum().backward()
    assert relative(out, expected) < 3e-6  # fp32 through three scans
    for name, parameter in block.named_parameters():
        assert relative(found[name], parameter.grad) < 1e-5, name


def test_parameters_are_named_as_in_the_forks():
    both = set(Mamba(8, bimamba_type="v2").state_dict()) - set(Mamba(8).state_dict())
    assert both == {
        "A_b_log",
        "D_b",
        "conv1d_b.bias",
        "conv1d_b.weight",
        "dt_proj_b.bias",
        "dt_proj_b.weight",
        "x_proj_b.weight",
    }
    assert set(Mamba(8, bimamba_type="v1").state_dict()) - set(Mamba(8).state_dict()) == {"A_b_log"}
    assert set(Mamba(8, bimamba_type=None).state_dict()) == set(Mamba(8).state_dict())


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({"bimamba_type": "v6"}, {}, "bimamba_type is 'v6', expected 'none', 'v1', 'v2' or 'v3'"),
        ({"bimamba_type": "v3"}, {}, "extra_emb is None, expected the second input"),
        ({"bimamba_type": "v3", "nslices": 3}, {}, "20 tokens do not divide into 3 slices"),
    ],
)
def test_what_does_not_fit_is_said(options, call, message):
    with pytest.raises(InputError, match=message):
        Mamba(6, **options)(torch.zeros(1, 20, 6), **call)
