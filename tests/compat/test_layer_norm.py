import inspect

import pytest
import torch

from unveil.compat.layer_norm import (
    RMSNorm,
    layer_norm_fn,
    layer_norm_linear_fn,
    layer_norm_ref,
    rms_norm_fn,
    rms_norm_ref,
)
from unveil.errors import InputError


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


@pytest.mark.parametrize("rms", [False, True])
def test_a_second_input_and_a_second_weight_give_two_results_of_one_sum(rms):
    x, residual, x1 = torch.randn(3, 2, 5, 7, dtype=torch.float64).unbind()
    weight, bias, weight1, bias1 = torch.randn(4, 7, dtype=torch.float64)
    fn = rms_norm_fn if rms else layer_norm_fn
    given = (x, weight, bias, residual, x1, weight1, bias1, 1e-2)
    y, y1, total = fn(*given, prenorm=True)
    torch.testing.assert_close(total, x + residual + x1)
    torch.testing.assert_close(y, by_definition(total, weight, bias, 1e-2, rms))
    torch.testing.assert_close(y1, by_definition(total, weight1, bias1, 1e-2, rms))
    for value, again in zip((y, y1), fn(*given), strict=True):
        torch.testing.assert_close(value, again)
    reference = (rms_norm_ref if rms else layer_norm_ref)(*given)
    torch.testing.assert_close(reference, (y, y1))


def test_rows_are_scaled_before_the_residual_is_added():
    x, residual = torch.randn(2, 4, 3, 6, dtype=torch.float64).unbind()
    rowscale = torch.randn(4, 3, dtype=torch.float64)
    weight = torch.randn(6, dtype=torch.float64)
    _, total = rms_norm_fn(x, weight, None, residual, rowscale=rowscale, prenorm=True)
    torch.testing.assert_close(total, x * rowscale.unsqueeze(-1) + residual)
    with pytest.raises(InputError, match="rowscale cannot be combined with x1"):
        rms_norm_fn(x, weight, None, None, residual, rowscale=rowscale)


def test_masks_say_what_was_dropped_of_each_input():
    x, x1 = torch.randn(2, 50, 40).unbind()
    weight, options = torch.ones(40), {"dropout_p": 0.25, "prenorm": True}
    y, total, mask, mask1 = layer_norm_fn(
        x, weight, None, x1=x1, return_dropout_mask=True, **options
    )
    torch.testing.assert_close(total, (x * mask + x1 * mask1) / 0.75)
    assert 0.65 < mask.float().mean() < 0.85
    assert not torch.equal(mask, mask1)
    masks = {"dropout_mask": mask, "dropout_mask1": mask1}
    torch.testing.assert_close(layer_norm_ref(x, weight, None, x1=x1, **options, **masks)[0], y)
    kept = layer_norm_fn(x, weight, None, return_dropout_mask=True)
    assert kept[1:] == (None, None)


def test_a_reference_keeps_the_dtype_of_the_sum_unless_it_is_asked_for_a_wider_one():
    x, weight = torch.randn(3, 8, dtype=torch.bfloat16), torch.ones(8)
    assert layer_norm_ref(x, weight, None, prenorm=True)[1].dtype == torch.bfloat16
    assert layer_norm_ref(x, weight, None, prenorm=True, upcast=True)[1].dtype == torch.float32


def test_normalising_and_mapping_is_one_after_the_other():
    x, residual = torch.randn(2, 4, 6, dtype=torch.float64).unbind()
    weight, bias = torch.randn(2, 6, dtype=torch.float64)
    matrix, shift = torch.randn(3, 6, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    y, total = layer_norm_linear_fn(x, weight, bias, matrix, shift, residual, 1e-3, prenorm=True)
    torch.testing.assert_close(total, x + residual)
    expected = by_definition(total, weight, bias, 1e-3, rms=False) @ matrix.T + shift
    torch.testing.assert_close(y, expected)


def test_the_order_of_arguments_is_that_of_the_original():
    shared = [
        "x",
        "weight",
        "bias",
        "residual",
        "x1",
        "weight1",
        "bias1",
        "eps",
        "dropout_p",
        "rowscale",
        "prenorm",
    ]
    rest = ["residual_in_fp32", "is_rms_norm", "return_dropout_mask"]
    assert list(inspect.signature(layer_norm_fn).parameters) == shared + rest
    assert list(inspect.signature(rms_norm_fn).parameters) == [*shared, rest[0], rest[2]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x1": 1e-5}, "x1 is 1e-05, expected a tensor: pass eps"),
        ({"residual": torch.ones(2, 4)}, r"residual has shape \(2, 4\), expected \(3, 4\)"),
        ({"weight1": torch.ones(3)}, r"weight1 has shape \(3,\), expected \(4,\)"),
        ({"bias1": torch.ones(4)}, "bias1 is given without weight1"),
        ({"rowscale": torch.ones(4)}, r"rowscale has shape \(4,\), expected \(3,\)"),
    ],
)
def test_what_does_not_fit_is_named(wrong, message):
    with pytest.raises(InputError, match=message):
        layer_norm_fn(torch.ones(3, 4), torch.ones(4), None, **wrong)
