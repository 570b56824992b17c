import pytest
import torch

from unveil.compat.layer_norm import RMSNorm, layer_norm_fn, rms_norm_fn


def by_definition(total, weight, bias, eps, rms):
    centred = total if rms else total - total.mean(-1, keepdim=True)
    y = weight * centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return y if bias is None else y + bias


@pytest.mark.parametrize("fn", [layer_norm_fn, rms_norm_fn])
@pytest.mark.parametrize("with_residual", [False, True])
def test_values_and_gradients_are_those_of_the_definition(fn, with_residual):
    x, residual = torch.randn(2, 3, 7, dtype=torch.float64).unbind()
    weight, bias = torch.randn(2, 7, dtype=torch.float64)
    given = [t.requires_grad_() for t in (x, weight, bias, *([residual] * with_residual))]
    y, total = fn(*given, eps=1e-3, prenorm=True)
    sums = x + residual if with_residual else x
    torch.testing.assert_close(total, sums)
    torch.testing.assert_close(y, by_definition(sums, weight, bias, 1e-3, fn is rms_norm_fn))
    assert torch.autograd.gradcheck(lambda *leaves: fn(*leaves, eps=1e-3), given)


def test_the_residual_keeps_its_dtype_and_starts_in_fp32_on_request():
    x, weight = torch.randn(3, 8, dtype=torch.bfloat16), torch.ones(8)
    assert [t.dtype for t in rms_norm_fn(x, weight, None, prenorm=True)] == [torch.bfloat16] * 2
    y, residual = rms_norm_fn(x, weight, None, prenorm=True, residual_in_fp32=True)
    assert (y.dtype, residual.dtype) == (torch.bfloat16, torch.float32)
    _, after = rms_norm_fn(x, weight, None, residual, prenorm=True)
    assert after.dtype == torch.float32
    torch.testing.assert_close(after, 2 * x.float())


def test_the_module_has_the_published_parameter_and_drops_in_training_only():
    norm, x = RMSNorm(6, eps=0.0, dropout_p=0.5), torch.randn(200, 6)
    assert list(norm.state_dict()) == ["weight"]
    assert (norm(x) == 0).any()
    expected = by_definition(x, torch.ones(6), None, 0.0, rms=True)
    torch.testing.assert_close(norm.eval()(x), expected)
    torch.testing.assert_close(norm(x, residual=x, prenorm=True)[1], 2 * x)
