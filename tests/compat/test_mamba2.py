"""Mamba-2's blocks, held to float64 with a loop over tokens written here."""

import pytest
import torch
import torch.nn.functional as F

from unveil.compat.mamba2 import Mamba2
from unveil.compat.mamba2_simple import Mamba2Simple
from unveil.compat.ssd_combined import (
    mamba_chunk_scan_combined,
    mamba_split_conv1d_scan_combined,
    mamba_split_conv1d_scan_ref,
)
from unveil.compat.utilities import InferenceParams
from unveil.errors import InputError

OPTIONS = [
    {},
    {"ngroups": 2, "norm_before_gate": True},
    {"D_has_hdim": True, "rmsnorm": False, "bias": True},
    {"d_ssm": 16, "conv_bias": False},
    {"dt_limit": (0.01, 0.05)},
]


def relative(actual, expected):
    return ((actual.double() - expected).norm() / expected.norm()).item()


def in_float64(block, u):
    """Compute a block from the paper's figure 6, token by token."""
    h, p, g, n = block.nheads, block.headdim, block.ngroups, block.d_state
    inner, mlp = block.d_ssm, block.d_inner - block.d_ssm
    sizes = [mlp, mlp, inner, inner + 2 * g * n, h]
    opened, passed, z, xBC, dt = block.in_proj(u).split(sizes, dim=-1)
    taps = block.conv1d.weight
    past = F.pad(xBC.mT, (taps.shape[-1] - 1, 0)).unfold(-1, taps.shape[-1], 1)
    xBC = (past * taps).sum(-1)
    xBC = xBC if block.conv1d.bias is None else xBC + block.conv1d.bias[:, None]
    x, B, C = F.silu(xBC).mT.split([inner, g * n, g * n], dim=-1)
    x = x.unflatten(-1, (h, p))
    B, C = (v.unflatten(-1, (g, n)).repeat_interleave(h // g, 2) for v in (B, C))
    step = F.softplus(dt + block.dt_bias).clamp(*block.dt_limit)
    state, ys = torch.zeros(len(u), h, p, n, dtype=u.dtype), []
    for t in range(u.shape[1]):
        decay = torch.exp(-step[:, t] * block.A_log.exp())
        added = torch.einsum("bh,bhp,bhn->bhpn", step[:, t], x[:, t], B[:, t])
        state = decay[..., None, None] * state + added
        ys.append(torch.einsum("bhpn,bhn->bhp", state, C[:, t]))
    skip = block.D.view(h, p) if block.D.numel() == h * p else block.D[:, None]
    y = (torch.stack(ys, 1) + skip * x).flatten(2)
    gate = F.silu(z)
    if not getattr(block, "rmsnorm", True):
        y = y * gate
    else:
        before = getattr(block, "norm_before_gate", False)
        y = y if before else y * gate
        groups = y.unflatten(-1, (g, -1))
        if isinstance(block, Mamba2Simple) and not block.use_mem_eff_path:
            groups = y.unflatten(-1, (1, -1))
        groups = groups / (groups.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        y = groups.flatten(-2) * block.norm.weight
        y = y * gate if before else y
    y = torch.cat([F.silu(opened) * passed, y], -1) if mlp else y
    return block.out_proj(y)


@pytest.mark.parametrize("options", OPTIONS)
def test_block_and_every_gradient_match_the_equations(options):
    block = Mamba2(16, d_state=8, headdim=8, **options)
    u = torch.randn(2, 37, 16)
    out = block(u)
    out.square().sum().backward()
    found = {name: p.grad.clone() for name, p in block.named_parameters()}
    block.zero_grad()
    block.double()
    expected = in_float64(block, u.double())
    expected.square().sum().backward()
    assert relative(out, expected) < 3e-6
    for name, parameter in block.named_parameters():
        assert relative(found[name], parameter.grad) < 2e-5, name


@pytest.mark.parametrize("options", OPTIONS)
def test_decoding_gives_what_a_pass_over_all_tokens_gives(options):
    block, u = Mamba2(16, d_state=8, headdim=8, layer_idx=0, **options), torch.randn(2, 12, 16)
    with torch.no_grad():
        whole, cache = block(u), InferenceParams(12, 2)
        parts = [block(u[:, :7], inference_params=cache)]
        for t in range(7, 12):
            cache.seqlen_offset = t
            parts.append(block(u[:, t : t + 1], inference_params=cache))
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_sequences_of_one_batch_leave_their_states_for_decoding():
    block = Mamba2(16, d_state=8, headdim=8, layer_idx=0)
    u, bounds = torch.randn(1, 12, 16), torch.tensor([0, 5, 12])
    index = torch.tensor([[0] * 5 + [1] * 7])
    together, alone = InferenceParams(12, 2), InferenceParams(12, 1)
    with torch.no_grad():
        out = block(u, seq_idx=index, cu_seqlens=bounds, inference_params=together)
        second = block(u[:, 5:], inference_params=alone)
    torch.testing.assert_close(out[:, 5:], second)
    for found, expected in zip(
        together.key_value_memory_dict[0], alone.key_value_memory_dict[0], strict=True
    ):
        torch.testing.assert_close(found[1:], expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ngroups": 2, "learnable_init_states": True},
        {"ngroups": 2, "use_mem_eff_path": False},
    ],
)
def test_the_simple_block_matches_the_equations(options):
    block = Mamba2Simple(16, d_state=8, headdim=8, **options)
    block.d_ssm = block.d_inner
    u = torch.randn(2, 37, 16)
    out = block(u)
    expected = in_float64(block.double(), u.double())
    assert relative(out, expected) < 3e-6


def test_parameters_are_named_and_shaped_as_published():
    shapes = {name: tuple(v.shape) for name, v in Mamba2(64).state_dict().items()}
    assert shapes == {
        "dt_bias": (2,),
        "A_log": (2,),
        "D": (2,),
        "in_proj.weight": (514, 64),
        "conv1d.weight": (384, 1, 4),
        "conv1d.bias": (384,),
        "norm.weight": (128,),
        "out_proj.weight": (64, 128),
    }


def arguments():
    x, dt = torch.randn(1, 20, 2, 4), torch.rand(1, 20, 2)
    return (x, dt, -torch.rand(2), torch.randn(1, 20, 1, 3), torch.randn(1, 20, 1, 3), 64)


def test_the_order_of_arguments_before_version_2_2_is_understood():
    given = arguments()
    new = mamba_chunk_scan_combined(
        *given, None, None, None, None, None, None, True, (0.0, 1.0), True
    )
    old = mamba_chunk_scan_combined(*given, None, None, None, None, None, True, (0.0, 1.0), True)
    named = mamba_chunk_scan_combined(
        *given, dt_softplus=True, dt_limit=(0.0, 1.0), return_final_states=True
    )
    for one, two, three in zip(new, old, named, strict=True):
        torch.testing.assert_close(one, two)
        torch.testing.assert_close(one, three)


def test_last_states_of_sequences_in_one_batch():
    given, bounds = arguments(), torch.tensor([0, 8, 20])
    index = torch.tensor([[0] * 8 + [1] * 12])
    _, last, each = mamba_chunk_scan_combined(
        *given,
        seq_idx=index,
        cu_seqlens=bounds,
        return_final_states=True,
        return_varlen_states=True,
    )
    assert each.shape == (2, 2, 4, 3)
    torch.testing.assert_close(each[1:], last)


def test_a_networks_own_subclass_of_tensor_is_taken():
    class Shaped(torch.Tensor):
        @property
        def shape(self):
            return tuple(super().shape)

    given = arguments()
    found = mamba_chunk_scan_combined(*(Shaped(v) for v in given[:5]), 64)
    torch.testing.assert_close(torch.Tensor(found), mamba_chunk_scan_combined(*given))


def test_the_inside_of_a_block_by_the_loop():
    given = (
        *(torch.randn(1, 20, 8 + 8 + 6 + 2), torch.randn(14, 4), torch.randn(14), torch.randn(2)),
        *(-torch.rand(2), torch.randn(2), 64),
    )
    options = {"rmsnorm_weight": torch.rand(8), "headdim": 4}
    fast = mamba_split_conv1d_scan_combined(*given, **options)
    slow = mamba_split_conv1d_scan_ref(*given, **options)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("before", [False, True])
def test_groups_are_normalised_apart_but_in_the_originals_reference(before):
    # mamba_ssm's kernel and its block take the mean of each group, its reference that of all.
    given = (
        *(torch.randn(1, 20, 8 + 8 + 12 + 2), torch.randn(20, 4), torch.randn(20), torch.randn(2)),
        *(-torch.rand(2), torch.randn(2), 64),
    )
    options = {"headdim": 4, "ngroups": 2}
    norm = {"rmsnorm_weight": torch.rand(8), "norm_before_gate": before}
    z, open_gate = given[0][..., :8], given[0].clone()
    open_gate[..., :8] = 1.2784645  # where SiLU is 1: what is left is the scan
    y = mamba_split_conv1d_scan_combined(open_gate, *given[1:], **options)
    for groups, function in (
        (2, mamba_split_conv1d_scan_combined),
        (1, mamba_split_conv1d_scan_ref),
    ):
        values = y if before else y * F.silu(z)
        parts = values.unflatten(-1, (groups, -1))
        parts = parts / (parts.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        expected = parts.flatten(-2) * norm["rmsnorm_weight"] * (F.silu(z) if before else 1)
        found = function(*given, **options, **norm)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Mamba2(16, headdim=5), "32 channels do not divide into 1 groups of heads of 5"),
        (lambda: Mamba2(16, process_group=object()), "tensor parallelism is not provided"),
        (lambda: Mamba2(64, A_init_range=(0, 1)), "A_init_range is"),
        (lambda: Mamba2(64)(torch.zeros(2, 64)), r"u has shape \(2, 64\)"),
        (lambda: mamba_chunk_scan_combined(*arguments(), no=1), "has no option 'no'"),
        (
            lambda: mamba_chunk_scan_combined(*arguments(), return_varlen_states=True),
            "needs cu_seqlens",
        ),
    ],
)
def test_what_does_not_fit_is_said(call, message):
    with pytest.raises(InputError, match=message):
        call()
