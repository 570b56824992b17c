import pytest
import torch
import torch.nn.functional as F

from unveil.compat.causal_conv1d import (
    causal_conv1d_fn,
    causal_conv1d_ref,
    causal_conv1d_update,
    causal_conv1d_update_ref,
    causal_conv1d_varlen_states,
)
from unveil.errors import InputError


def by_definition(x, weight, bias=None, before=None):
    """Σ_j weight[d, j] x[d, t − width + 1 + j], in float64, token by token."""
    width = weight.shape[1]
    before = torch.zeros(*x.shape[:2], width - 1) if before is None else before
    history = torch.cat([before, x], -1).double()
    out = torch.stack(
        [(history[..., t : t + width] * weight.double()).sum(-1) for t in range(x.shape[-1])], -1
    )
    return out if bias is None else out + bias.double()[:, None]


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 3, 17])
def test_it_is_the_sum_over_the_last_inputs(width, length):
    x, weight, bias = torch.randn(2, 5, length), torch.randn(5, width), torch.randn(5)
    expected = by_definition(x, weight, bias)
    # Rounding of four products in fp32.
    torch.testing.assert_close(
        causal_conv1d_fn(x, weight, bias).double(), expected, rtol=1e-5, atol=1e-5
    )
    for name in ("silu", "swish"):
        torch.testing.assert_close(
            causal_conv1d_fn(x, weight, bias, activation=name).double(),
            F.silu(expected),
            rtol=1e-5,
            atol=1e-5,
        )


def test_two_halves_with_states_are_the_whole():
    x, weight = torch.randn(2, 3, 11), torch.randn(3, 4)
    whole, last = causal_conv1d_fn(x, weight, return_final_states=True)
    first, state = causal_conv1d_fn(x[..., :2], weight, return_final_states=True)
    kept = torch.empty_like(state)
    second, end = causal_conv1d_fn(
        x[..., 2:], weight, initial_states=state, return_final_states=True, final_states_out=kept
    )
    torch.testing.assert_close(torch.cat([first, second], -1), whole)
    torch.testing.assert_close(end, last)
    assert end is kept


def test_sequences_packed_into_one_do_not_see_each_other():
    x, weight, bias = torch.randn(1, 3, 10), torch.randn(3, 4), torch.randn(3)
    numbers = torch.tensor([[0, 0, 0, 0, 1, 1, 2, 2, 2, 2]])
    apart = [causal_conv1d_fn(part, weight, bias) for part in x.split([4, 2, 4], -1)]
    torch.testing.assert_close(
        causal_conv1d_fn(x, weight, bias, seq_idx=numbers), torch.cat(apart, -1)
    )


@pytest.mark.parametrize("options", [{}, {"return_final_states": True}])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_wider_weights_are_not_rounded_to_half_precision_inputs(dtype, options):
    x, weight = torch.randn(2, 8, 40, dtype=dtype), torch.randn(8, 4)
    upstream = torch.randn(x.shape)

    def of_weight(x, weight):
        leaf = weight.clone().requires_grad_()
        y = causal_conv1d_fn(x, leaf, activation="silu", **options)
        y = y[0] if isinstance(y, tuple) else y
        return y.detach(), torch.autograd.grad((y * upstream.to(y.dtype)).sum(), leaf)[0]

    y, gradient = of_weight(x, weight)
    expected, exact = of_weight(x.double(), weight.double())
    # Half a unit in the last place of the result; the gradient is a sum over what was rounded once.
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), expected, rtol=eps, atol=eps * 1e-2)
    assert (gradient.double() - exact).norm() < eps * exact.norm()


def test_a_negative_sequence_number_marks_padding_whose_result_is_zero():
    x, weight, bias = torch.randn(1, 3, 6), torch.randn(3, 4), torch.randn(3)
    numbers = torch.tensor([[-1, -1, 0, 0, 0, -1]])
    y = causal_conv1d_fn(x, weight, bias, numbers, activation="silu")
    assert (y[..., [0, 1, 5]] == 0).all()
    alone = causal_conv1d_fn(x[..., 2:5], weight, bias, activation="silu")
    torch.testing.assert_close(y[..., 2:5], alone)


def test_gradients_are_those_of_the_definition():
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *given: causal_conv1d_fn(*given, activation="silu"), (x, weight, bias)
    )


@pytest.mark.parametrize("state_length", [3, 4, 7])
@pytest.mark.parametrize("tokens", [1, 2, 5])
def test_updates_continue_the_sequence(state_length, tokens):
    x, weight, bias = torch.randn(2, 3, 8 + tokens), torch.randn(3, 4), torch.randn(3)
    state = x[..., 8 - state_length : 8].clone()
    out = causal_conv1d_update(x[..., 8:], state, weight, bias, "silu")
    torch.testing.assert_close(out, causal_conv1d_fn(x, weight, bias, activation="silu")[..., 8:])
    torch.testing.assert_close(state, x[..., -state_length:])


def test_an_update_of_one_token_may_lack_the_time_axis():
    state, weight = torch.zeros(2, 3, 4), torch.randn(3, 4)
    x = torch.randn(2, 3)
    torch.testing.assert_close(causal_conv1d_update(x, state, weight), x * weight[:, -1])


def test_a_ring_of_states_is_the_shifted_one():
    x, weight = torch.randn(2, 3, 12), torch.randn(3, 4)
    ring = torch.zeros(2, 3, 5)
    seen, outs = torch.tensor([0, 0]), []
    for token in x.split([1, 2, 1, 1, 3, 2, 2], -1):
        outs.append(causal_conv1d_update(token, ring, weight, cache_seqlens=seen))
        seen = seen + token.shape[-1]
    torch.testing.assert_close(torch.cat(outs, -1), causal_conv1d_fn(x, weight))


def test_indices_choose_the_rows_of_the_state():
    pool, weight, x = torch.randn(4, 3, 3), torch.randn(3, 4), torch.randn(2, 3)
    rows = torch.tensor([2, 0], dtype=torch.int32)
    own, before = pool[[2, 0]].clone(), pool.clone()
    expected = causal_conv1d_update(x, own, weight)
    torch.testing.assert_close(
        causal_conv1d_update(x, pool, weight, conv_state_indices=rows), expected
    )
    torch.testing.assert_close(pool[[2, 0]], own)
    torch.testing.assert_close(pool[[1, 3]], before[[1, 3]])


def test_half_precision_stays_half():
    x, weight = torch.randn(1, 2, 5, dtype=torch.bfloat16), torch.randn(2, 4)
    assert causal_conv1d_fn(x, weight).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "relu"}, "activation is 'relu'"),
        ({"weight": torch.zeros(4, 4)}, r"weight \(4, 4\)"),
        ({"initial_states": torch.zeros(1, 3, 2)}, "initial_states has shape"),
        ({"seq_idx": torch.zeros(1, 5), "return_final_states": True}, "seq_idx cannot"),
        ({"seq_idx": torch.zeros(1, 4)}, r"seq_idx has shape \(1, 4\), expected \(1, 5\)"),
        ({"bias": torch.zeros(4)}, r"bias has shape \(4,\), expected \(3,\)"),
        ({"bias": "silu"}, "bias is str, expected a tensor"),
        ({"x": torch.zeros(1, 3, 5, dtype=torch.int32)}, "x is torch.int32"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    given = {"x": torch.zeros(1, 3, 5), "weight": torch.zeros(3, 4)} | arguments
    with pytest.raises(InputError, match=message):
        causal_conv1d_fn(**given)


def test_no_tokens_make_no_tokens():
    out, state = causal_conv1d_fn(
        torch.zeros(2, 3, 0), torch.zeros(3, 4), torch.zeros(3), return_final_states=True
    )
    assert (out.shape, state.shape) == ((2, 3, 0), (2, 3, 3))


def test_a_state_of_other_sequences_is_refused():
    with pytest.raises(InputError, match="conv_state has shape"):
        causal_conv1d_update(torch.zeros(2, 3), torch.zeros(1, 3, 3), torch.zeros(3, 4))


def test_a_state_that_is_too_short_is_refused():
    with pytest.raises(InputError, match="keeps 2 inputs, expected at least 3"):
        causal_conv1d_update(torch.zeros(1, 3), torch.zeros(1, 3, 2), torch.zeros(3, 4))


def test_version_1_passes_the_activation_fourth():
    x, weight, bias = torch.randn(2, 3, 9), torch.randn(3, 4), torch.randn(3)
    expected = causal_conv1d_fn(x, weight, bias, activation="silu")
    torch.testing.assert_close(causal_conv1d_fn(x, weight, bias, "silu"), expected)


def test_padding_has_no_row_and_gives_zeros():
    state = torch.randn(4, 3, 3)
    before, x = state.clone(), torch.randn(3, 3)
    weight, rows = torch.randn(3, 4), torch.tensor([2, -1, 0])
    y = causal_conv1d_update(x, state, weight, None, "silu", conv_state_indices=rows)
    alone = before.clone()
    expected = causal_conv1d_update(
        x[[0, 2]], alone, weight, None, "silu", conv_state_indices=rows[[0, 2]]
    )
    torch.testing.assert_close(y[[0, 2]], expected)
    assert not y[1].any()
    torch.testing.assert_close(state, alone)
    torch.testing.assert_close(state[[1, 3]], before[[1, 3]])


def test_the_references_agree():
    x, weight, bias = torch.randn(2, 3, 9), torch.randn(3, 4), torch.randn(3)
    initial = torch.randn(2, 3, 3)
    fast, final = causal_conv1d_fn(x, weight, bias, None, initial, True, None, "silu")
    slow, last = causal_conv1d_ref(x, weight, bias, initial, True, None, "silu")
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(final, last)
    torch.testing.assert_close(
        causal_conv1d_ref(x, weight, bias, activation="silu"),
        causal_conv1d_fn(x, weight, bias, activation="silu"),
    )
    state, other = initial.clone(), initial.clone()
    one = causal_conv1d_update(x[..., 0], state, weight, bias)
    torch.testing.assert_close(one, causal_conv1d_update_ref(x[..., 0], other, weight, bias))
    torch.testing.assert_close(state, other)


def test_states_of_sequences_that_lie_one_behind_the_other():
    x, bounds = torch.arange(14.0).view(7, 2), torch.tensor([0, 1, 5, 7])
    states = causal_conv1d_varlen_states(x, bounds, 3)
    assert states[0].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert states[1].tolist() == [[4, 6, 8], [5, 7, 9]]
    assert states[2].tolist() == [[0, 10, 12], [0, 11, 13]]
