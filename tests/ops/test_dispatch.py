"""What records, transforms or counts a network sees every operation of it."""

import contextlib

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from unveil import create_model
from unveil.compat.mamba_simple import Mamba
from unveil.compat.ssd_combined import mamba_chunk_scan_combined
from unveil.errors import InputError
from unveil.models.cost import count_operations
from unveil.ops import (
    causal_conv1d,
    depthwise_conv,
    gated_depthwise,
    gated_unit,
    layer_norm,
    norm_gate,
    selective_scan,
    selective_scan_2d,
    silu_gate,
)
from unveil.ops.ssd import ssd_scan

NETWORKS = {
    "cu_mamba": (lambda: create_model("cu_mamba_tiny"), [(1, 3, 32, 32), (2, 3, 24, 40)]),
    "mtair": (lambda: create_model("mtair_tiny"), [(1, 3, 32, 32), (2, 3, 24, 40)]),
    "paper": (lambda: create_model("cu_mamba_tiny", block="paper", levels=LEVELS), [(1, 3, 8, 8)]),
    "mamba_ssm": (lambda: Mamba(16), [(2, 10, 16), (3, 17, 16)]),
}
LEVELS = [{"width": 8, "encoder": 1, "parts": ("spatial", "channel")}]
MODES = {
    "gradients": contextlib.nullcontext,
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
}


@pytest.mark.filterwarnings("ignore")  # tracing is deprecated, and warns of every shape it reads
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_traced_network_gives_the_same_at_every_size(name, mode):
    make, shapes = NETWORKS[name]
    network = make().eval()
    with MODES[mode]():
        traced = torch.jit.trace(network, torch.rand(shapes[0]))
    for shape in shapes:
        x = torch.rand(shape)
        with torch.no_grad():
            torch.testing.assert_close(traced(x), network(x))


@pytest.mark.filterwarnings("ignore")
def test_a_network_traced_without_gradients_trains_as_the_network():
    network = create_model("cu_mamba_tiny").eval()
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        traced = torch.jit.trace(network, torch.rand(1, 3, 16, 16))
    expected = torch.autograd.grad(network(x).square().sum(), list(network.parameters()))
    found = torch.autograd.grad(traced(x).square().sum(), list(network.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_saved_trace_of_frozen_parameters_gives_the_same(tmp_path):
    network = create_model("mtair_tiny").eval().requires_grad_(False)
    traced = torch.jit.trace(network, torch.rand(1, 3, 16, 16))
    torch.jit.save(traced, tmp_path / "network.pt")
    again = torch.jit.load(tmp_path / "network.pt")
    x = torch.rand(1, 3, 16, 24)
    torch.testing.assert_close(again(x), network(x))


def _scan(x):
    tokens = x.flatten(0, 2)[None].mT
    A = torch.linspace(-1, -0.1, 8 * 2).view(8, 2)
    return selective_scan(tokens, tokens.abs(), A, tokens[:, :2], tokens[:, 2:4])


W = torch.linspace(0.5, 1.5, 8)
OPERATIONS = {
    "layer_norm": lambda x: layer_norm(x, W),
    "norm_gate": lambda x: norm_gate(x, x, W),
    "silu_gate": lambda x: silu_gate(x, x),
    "depthwise_conv": lambda x: depthwise_conv(
        x, torch.outer(W, torch.arange(9.0)).view(8, 1, 3, 3)
    ),
    "causal_conv1d": lambda x: causal_conv1d(x, torch.outer(W, torch.arange(4.0)).view(8, 1, 4)),
    "gated_unit": lambda x: gated_unit(
        x, W, None, torch.outer(W, W), torch.outer(W, torch.arange(9.0)).view(8, 1, 3, 3) / 20
    ),
    "selective_scan": _scan,
}


def _image_scan(x):
    A = -torch.linspace(0.1, 1, 2 * 8 * 3).view(2, 8, 3)
    steps, tokens = x.abs()[..., None, :].expand(-1, -1, -1, 2, -1), x[..., None, :3]
    tokens = tokens.expand(-1, -1, -1, 2, -1).contiguous()
    orders = ("row", "column_reversed")
    return selective_scan_2d(x, steps.contiguous(), A, tokens, tokens / 2, orders=orders)


def _two_results(x):
    tokens = x.flatten(1, 2).mT
    A = torch.linspace(-1, -0.1, 8 * 2).view(8, 2)
    B = tokens[:, :2].contiguous()
    return torch.cat([v.flatten(1) for v in selective_scan(
        tokens, tokens.abs(), A, B, B, return_last_state=True
    )], 1)  # fmt: skip


def _chunks(x):
    tokens = x.flatten(1, 2).unflatten(2, (2, 4))
    return mamba_chunk_scan_combined(
        tokens, tokens[..., 0].abs(), -torch.tensor([0.5, 1.0]), tokens[:, :, :1], tokens[:, :, 1:],
        chunk_size=16,
    )  # fmt: skip


TRACED = OPERATIONS | {
    "gated_depthwise": lambda x: gated_depthwise(
        torch.cat([x, x], -1), torch.outer(W.repeat(2), torch.arange(9.0)).view(16, 1, 3, 3)
    ),
    "selective_scan_2d": _image_scan,
    "selective_scan with its last state": _two_results,
    "mamba_chunk_scan": _chunks,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", TRACED)
def test_a_traced_operation_gives_the_same_at_every_size(name, mode):
    operation = TRACED[name]
    with MODES[mode]():
        traced = torch.jit.trace(operation, torch.randn(2, 4, 5, 8))
    for shape in [(2, 4, 5, 8), (1, 7, 3, 8), (3, 16, 9, 8)]:
        x = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(traced(x), operation(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # torch.func's own import
@pytest.mark.parametrize("name", OPERATIONS)
def test_function_transforms_are_right(name):
    operation = OPERATIONS[name]
    x, direction = torch.randn(2, 2, 3, 4, 8).unbind()
    both = torch.stack([x, direction])
    expected = torch.stack([operation(x), operation(direction)])
    torch.testing.assert_close(torch.func.vmap(operation)(both), expected, rtol=1e-4, atol=1e-4)

    leaf = x.clone().requires_grad_()
    weights = torch.randn(expected[0].shape)
    (gradient,) = torch.autograd.grad((operation(leaf) * weights).sum(), leaf)
    found = torch.func.grad(lambda v: (operation(v) * weights).sum())(x)
    torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-3)

    # The derivative along a direction is the gradient's product with it.
    _, tangent = torch.func.jvp(operation, (x,), (direction,))
    along = (gradient * direction).sum()
    torch.testing.assert_close((tangent * weights).sum(), along, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", ["cu_mamba_tiny", "mtair_tiny"])
def test_a_flop_counter_counts_the_kernels(name):
    network, x = create_model(name).eval(), torch.rand(1, 3, 32, 32)
    cost = count_operations(network, 32, 32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x)
    # Six operations per state update, docs of `unveil.ops._flops`.
    assert counter.get_total_flops() == 2 * cost.multiply_adds + 6 * cost.scan_updates


ONES = torch.ones(1, 3, 1, 1)
SCANS = {
    "selective_scan": lambda: selective_scan(
        *[ONES[..., 0]] * 2, -ONES[0, :, 0], *[ONES[:, 0]] * 2
    ),
    "ssd_scan": lambda: ssd_scan(ONES, ONES[..., 0], torch.zeros(1), ONES, ONES),
}


@pytest.mark.parametrize("scan", SCANS)
def test_a_backend_that_no_scan_has_is_refused_in_the_environment(scan, monkeypatch):
    SCANS[scan]()
    monkeypatch.setenv("UNVEIL_SCAN_BACKEND", "nativ")
    with pytest.raises(InputError, match="backend is 'nativ', expected one of auto, reference"):
        SCANS[scan]()


def test_a_backend_of_other_scans_leaves_the_choice_to_this_one(monkeypatch):
    monkeypatch.setenv("UNVEIL_SCAN_BACKEND", "triton")
    y, _ = SCANS["ssd_scan"]()
    assert y.flatten().tolist() == [1, 2, 3]
