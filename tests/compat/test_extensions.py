import pytest
import torch
import torch.nn.functional as F

from unveil.compat import extensions


def drawn(dtype=torch.float32, d=6, n=4, length=21, b=2, groups=2):
    u, delta, z, dout = torch.randn(4, b, d, length).to(dtype)
    A, D, bias = -torch.rand(d, n), torch.randn(d), torch.randn(d)
    B, C = torch.randn(2, b, groups, n, length).to(dtype)
    return u, delta, A, B, C, D, z, bias, dout


def truth(plain_scan, u, delta, A, B, C, D, z, bias, dout):
    """Return the result, the last state and the gradients in float64."""
    leaves = [
        t if t is None else t.double().requires_grad_() for t in (u, delta, A, B, C, D, bias, z)
    ]
    u, delta, A, B, C, D, bias, z = leaves
    out, state = plain_scan(u, delta, A, B, C, D, z, bias, True)
    gradients = torch.autograd.grad(out, [t for t in leaves if t is not None], dout.double())
    return out.detach(), state.detach(), gradients


def assert_near(actual, expected):
    # fp32 sums over 42 tokens.
    torch.testing.assert_close(actual.double(), expected, rtol=2e-5, atol=2e-5)


def test_core_gives_the_scan_and_its_gradients(plain_scan):
    u, delta, A, B, C, D, _, bias, dout = drawn()
    expected, last, gradients = truth(plain_scan, u, delta, A, B, C, D, None, bias, dout)
    out, x, *rest = extensions.core_fwd(u, delta, A, B, C, D, bias, True, 1)
    assert not rest
    assert_near(out, expected)
    assert_near(x[:, :, -1, 1::2], last)
    found = extensions.core_bwd(u, delta, A, B, C, D, bias, dout, x, True, 1)
    assert len(found) == 7
    for one, other in zip(found, gradients, strict=True):
        assert_near(one, other)


@pytest.mark.parametrize("recompute", [False, True])
def test_mambas_own_module_gates_and_fills_the_given_gradient(plain_scan, recompute):
    u, delta, A, B, C, D, z, bias, dout = drawn()
    expected, _, gradients = truth(plain_scan, u, delta, A, B, C, D, z, bias, dout)
    out, x, out_z = extensions.mamba_fwd(u, delta, A, B, C, D, z, bias, True)
    assert_near(out_z, expected)
    assert_near(out * F.silu(z), expected)
    dz = torch.full_like(z, torch.nan)
    found = extensions.mamba_bwd(u, delta, A, B, C, D, z, bias, dout, x, out, dz, True, recompute)
    assert found[7] is dz
    for one, other in zip(found, gradients, strict=False):
        assert_near(one, other)
    assert len(found) == 8 + recompute
    if recompute:
        assert_near(found[8], expected)


def test_the_backward_takes_vmambas_first_call_form_too():
    *given, _, bias, dout = drawn()
    out, x = extensions.core_fwd(*given, bias, True)
    later = extensions.core_bwd(*given, bias, dout, x, True, 1)
    first = extensions.core_bwd(*given, bias, dout, x, None, True)
    assert all(map(torch.equal, first, later))
    assert all(map(torch.equal, extensions.core_bwd(*given, bias, dout, x, out, True, 1), later))


@pytest.mark.parametrize("scan", [extensions.vmamba_scan_fn, extensions.vmamba_scan_ref])
def test_vmambas_package_scans_differentiably(plain_scan, scan):
    u, delta, A, B, C, D, _, bias, dout = drawn()
    expected, _, gradients = truth(plain_scan, u, delta, A, B, C, D, None, bias, dout)
    leaves = [t.requires_grad_() for t in (u, delta, A, B, C, D, bias)]
    out = scan(*leaves[:6], delta_bias=bias, delta_softplus=True, nrows=1)
    assert_near(out.detach(), expected)
    for one, other in zip(torch.autograd.grad(out, leaves, dout), gradients, strict=True):
        assert_near(one, other)


def test_optional_tensors_may_be_missing():
    u, delta, A, B, C, _, _, _, dout = drawn()
    out, x = extensions.core_fwd(u, delta.abs(), A, B, C, None, None, False, 1)
    found = extensions.core_bwd(u, delta.abs(), A, B, C, None, None, dout, x, False, 1)
    assert torch.isfinite(out).all()
    assert [gradient is None for gradient in found] == [False] * 5 + [True] * 2


def test_oflex_returns_fp32_on_request():
    u, delta, A, B, C, D, _, bias, _ = drawn(torch.float16)
    wide, _ = extensions.oflex_fwd(u, delta, A, B, C, D, bias, True, 1, True)
    narrow, _ = extensions.oflex_fwd(u, delta, A, B, C, D, bias, True, 1, False)
    assert wide.dtype == torch.float32
    assert narrow.dtype == torch.float16
    # The one is the other, rounded.
    torch.testing.assert_close(wide.half(), narrow, rtol=1e-3, atol=1e-3)


def test_inside_an_autograd_function_as_vision_networks_use_it():
    class Scan(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u, delta, A, B, C, D, bias):
            out, x = extensions.core_fwd(u, delta, A, B, C, D, bias, True, 1)
            ctx.save_for_backward(u, delta, A, B, C, D, bias, x)
            return out

        @staticmethod
        def backward(ctx, dout):
            *given, x = ctx.saved_tensors
            return tuple(extensions.core_bwd(*given, dout, x, True, 1))

    u, delta, A, B, C, D, _, bias, _ = (t.double() for t in drawn(d=2, n=2, length=3, b=1))
    leaves = [t.requires_grad_() for t in (u, delta, A, B, C, D, bias)]
    assert torch.autograd.gradcheck(Scan.apply, leaves)
