import pytest
import torch
import torch.nn.functional as F

from unveil.compat import causal_conv1d_extension as extension
from unveil.errors import InputError


def truth(x, weight, bias, initial=None, dfinal=None, dout=None):
    """Return the result and the gradients of x, weight, bias and the initial states in float64."""
    past = weight.shape[1] - 1
    initial = torch.zeros(*x.shape[:2], past) if initial is None else initial
    leaves = [t.double().requires_grad_() for t in (x, weight, bias, initial)]
    x, weight, bias, initial = leaves
    history = torch.cat([initial, x], -1)
    y = F.silu((history.unfold(-1, past + 1, 1) * weight[:, None]).sum(-1) + bias[:, None])
    if dout is None:
        return y
    loss = (y * dout.double()).sum()
    loss = loss if dfinal is None else loss + (history[..., -past:] * dfinal.double()).sum()
    return torch.autograd.grad(loss, leaves)


def drawn():
    x, dout = torch.randn(2, 2, 8, 13)
    return x, torch.randn(8, 4), torch.randn(8), dout, torch.randn(2, 8, 3), torch.randn(2, 8, 3)


@pytest.mark.parametrize(
    "options", [(True,), (None, True), (None, None, None, True)], ids=["1.0", "1.1", "1.2"]
)
def test_forward_of_every_version(options):
    x, weight, bias, *_ = drawn()
    y = extension.causal_conv1d_fwd(x, weight, bias, *options)
    torch.testing.assert_close(y.double(), truth(x, weight, bias), rtol=1e-5, atol=1e-5)


def test_the_newest_forward_writes_where_it_is_told():
    x, weight, bias, _, initial, _ = drawn()
    out, final = torch.empty_like(x), torch.empty_like(initial)
    extension.causal_conv1d_fwd(x, weight, bias, None, initial, out, final, True)
    expected = truth(x, weight, bias, initial)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(final, x[..., -3:])


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "1.5"])
def test_backward_of_every_version(version):
    x, weight, bias, dout, initial, dfinal = drawn()
    dx = torch.empty_like(x)
    given = (x, weight, bias, dout)
    if version == "1.0":
        expected = truth(x, weight, bias, dout=dout)[:3]
        found = extension.causal_conv1d_bwd(*given, dx, True)
    elif version == "1.1":
        expected = truth(x, weight, bias, dout=dout)[:3]
        found = extension.causal_conv1d_bwd(*given, None, dx, True)
    else:
        expected = truth(x, weight, bias, initial, dfinal, dout)
        if version == "1.2":
            found = extension.causal_conv1d_bwd(*given, None, initial, dfinal, dx, True, True)
        else:
            found = [dx, *(torch.zeros_like(t) for t in (weight, bias, initial))]
            extension.causal_conv1d_bwd(*given, None, initial, dfinal, *found, True)
    assert found[0] is dx
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    "options", [(True,), (True, None), (True, None, None), (None, True, None, None)]
)
def test_update_of_every_version(options):
    x, weight, bias, *_ = drawn()
    state = torch.zeros(2, 8, 4)
    whole = truth(x, weight, bias)
    if len(options) == 4:
        options = (torch.empty(2, 8), *options[1:])
    for t in range(3):
        y = extension.causal_conv1d_update(x[..., t].contiguous(), state, weight, bias, *options)
        torch.testing.assert_close(y.double(), whole[..., t], rtol=1e-5, atol=1e-5)


def test_another_number_of_arguments_is_refused():
    x, weight, bias, *_ = drawn()
    with pytest.raises(InputError, match="causal_conv1d_fwd got 6 arguments, expected 4, 5, 7, 8"):
        extension.causal_conv1d_fwd(x, weight, bias, None, None, True)
