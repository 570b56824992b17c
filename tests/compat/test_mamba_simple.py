from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from unveil.compat.mamba_simple import Mamba
from unveil.errors import InputError


def block_in_float64(parameters, x, d_conv, dt_rank, d_state, plain_scan):
    """Compute a Mamba block from the paper's equations (its figure 3), token by token."""
    p = parameters
    u, z = (x @ p["in_proj.weight"].T + p.get("in_proj.bias", 0)).mT.chunk(2, dim=1)
    past = F.pad(u, (d_conv - 1, 0)).unfold(-1, d_conv, 1)
    u = (past * p["conv1d.weight"]).sum(-1)
    u = F.silu(u + p["conv1d.bias"][:, None]) if "conv1d.bias" in p else F.silu(u)
    low_rank, B, C = (p["x_proj.weight"] @ u).split([dt_rank, d_state, d_state], dim=1)
    delta = F.softplus(p["dt_proj.weight"] @ low_rank + p["dt_proj.bias"][:, None])
    y, state = plain_scan(u, delta, -p["A_log"].exp(), B, C, p["D"])
    return (y * F.silu(z)).mT @ p["out_proj.weight"].T + p.get("out_proj.bias", 0), state


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"d_state": 4, "d_conv": 2, "expand": 1, "dt_rank": 3},
        {"bias": True, "conv_bias": False, "dt_init": "constant"},
    ],
)
def test_block_and_every_gradient_match_the_equations_in_float64(options, plain_scan):
    block = Mamba(12, **options)
    x = torch.randn(2, 37, 12, requires_grad=True)
    parameters = {k: v.detach().double().requires_grad_() for k, v in block.named_parameters()}
    x64 = x.detach().double().requires_grad_()
    out = block(x)
    expected, _ = block_in_float64(
        parameters, x64, block.d_conv, block.dt_rank, block.d_state, plain_scan
    )
    assert relative(out, expected) < 2e-6  # fp32 rounding through four products
    weights = torch.randn_like(out)
    (out * weights).sum().backward()
    (expected * weights.double()).sum().backward()
    assert relative(x.grad, x64.grad) < 5e-6
    for name, parameter in block.named_parameters():
        assert relative(parameter.grad, parameters[name].grad) < 5e-6, name


def relative(actual, expected):
    return ((actual.double() - expected).norm() / expected.norm()).item()


def test_parameters_are_named_and_shaped_as_published():
    shapes = {name: tuple(value.shape) for name, value in Mamba(64).state_dict().items()}
    assert shapes == {
        "A_log": (128, 16),
        "D": (128,),
        "in_proj.weight": (256, 64),
        "conv1d.weight": (128, 1, 4),
        "conv1d.bias": (128,),
        "x_proj.weight": (36, 128),
        "dt_proj.weight": (128, 4),
        "dt_proj.bias": (128,),
        "out_proj.weight": (64, 128),
    }


def test_initial_values_are_the_papers():
    block = Mamba(256, dt_min=0.01, dt_max=0.02)
    delta = F.softplus(block.dt_proj.bias)
    assert 0.01 * (1 - 1e-4) <= delta.min() <= delta.max() <= 0.02 * (1 + 1e-4)
    assert delta.std() > 1e-3
    torch.testing.assert_close(block.A_log[3].exp(), torch.arange(1.0, 17.0))
    assert (block.D == 1).all()
    assert block.dt_proj.weight.abs().max() <= 16**-0.5
    assert block.A_log._no_weight_decay
    assert block.D._no_weight_decay
    assert block.dt_proj.bias._no_reinit
    assert (Mamba(8, dt_min=1e-8, dt_max=1e-7).dt_proj.bias.exp() >= 0.99e-4).all()


def test_an_unknown_start_is_refused():
    with pytest.raises(InputError, match="dt_init is 'zeros'"):
        Mamba(8, dt_init="zeros")


@pytest.mark.parametrize("shape", [(2, 8), (2, 5, 7), (1, 0, 8)])
def test_an_input_of_another_shape_is_refused(shape):
    with pytest.raises(InputError, match=r"hidden_states has shape .*, expected \(b, l, 8\)"):
        Mamba(8)(torch.zeros(shape))


def decode(block, x, prompt):
    params = SimpleNamespace(key_value_memory_dict={}, seqlen_offset=0)
    outs = []
    start = 0
    for size in ([prompt] if prompt else []) + [1] * (x.shape[1] - prompt):
        outs.append(block(x[:, start : start + size], inference_params=params))
        start += size
        params.seqlen_offset = start
    return torch.cat(outs, 1), params.key_value_memory_dict[block.layer_idx]


@pytest.mark.parametrize("prompt", [1, 2, 9])
def test_decoding_token_by_token_is_the_whole_sequence(prompt):
    block, x = Mamba(12, layer_idx=3), torch.randn(2, 14, 12)
    with torch.no_grad():
        whole = block(x)
        outs, (conv_state, ssm_state) = decode(block, x, prompt)
    # Both orders of summation round differently.
    torch.testing.assert_close(outs, whole, rtol=1e-5, atol=1e-6)
    assert conv_state.shape == (2, 24, 4)
    assert ssm_state.shape == (2, 24, 16)


def test_step_wants_one_token_and_decoding_wants_a_layer_number():
    block = Mamba(8)
    states = block.allocate_inference_cache(1, 100, dtype=torch.float64)
    assert all(state.dtype == torch.float64 for state in states)
    with pytest.raises(InputError, match="2 tokens, expected 1"):
        block.step(torch.zeros(1, 2, 8), *states)
    with pytest.raises(InputError, match="layer_idx is None"):
        block(torch.zeros(1, 1, 8), SimpleNamespace(key_value_memory_dict={}, seqlen_offset=0))


def test_cached_states_are_zeroed_on_request():
    block = Mamba(8, layer_idx=0)
    params = SimpleNamespace(key_value_memory_dict={}, seqlen_offset=0)
    with torch.no_grad():
        block(torch.randn(2, 5, 8), params)
    assert any(state.abs().sum() > 0 for state in params.key_value_memory_dict[0])
    states = block._get_states_from_cache(params, 2, initialize_states=True)
    assert all((state == 0).all() for state in states)


def test_autocast_keeps_the_state_in_fp32():
    block, x = Mamba(12), torch.randn(2, 64, 12)
    with torch.autocast("cpu", torch.bfloat16):
        out = block(x)
    assert out.dtype == torch.bfloat16
    # bf16 weights and activations: three digits.
    assert relative(out.detach(), block(x).detach().double()) < 0.02


def test_parameters_take_the_dtype_asked_for_but_not_the_states():
    block = Mamba(8, dtype=torch.bfloat16)
    assert block.in_proj.weight.dtype == block.dt_proj.bias.dtype == torch.bfloat16
    assert block.A_log.dtype == block.D.dtype == torch.float32
    assert block(torch.randn(1, 5, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16
