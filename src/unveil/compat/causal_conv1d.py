"""Depthwise causal convolution along a sequence, with `causal_conv1d`'s interface.

out[b, d, t] = act(bias[d] + Σ_j weight[d, j] · x[b, d, t − width + 1 + j])
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from unveil.errors import InputError
from unveil.ops import causal_conv1d


def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Tensor | str | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    final_states_out: Tensor | None = None,
    activation: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolve every channel of a sequence with its own filter, looking only backwards.

    Args:
        x: `(b, d, l)`, any float dtype.
        weight: `(d, width)`; the last tap meets the present.
        bias: `(d,)` or None.
        seq_idx: `(b, l)` integers; a tap across a change of number counts as zero, and a negative
            number marks padding, whose result is zero. A string is taken for the activation, which
            had this place in `causal_conv1d` 1.0.
        initial_states: `(b, d, width - 1)`, what came before `x`; zeros when None.
        return_final_states: Also return the last `width - 1` inputs.
        final_states_out: `(b, d, width - 1)`, overwritten with those inputs.
        activation: None, `"silu"` or `"swish"`.

    Returns:
        `(b, d, l)` in the dtype of `x`; with the final states, a pair.

    Raises:
        InputError: A shape, a type or an activation does not fit.

    Example:
        >>> x = torch.ones(1, 1, 4)
        >>> causal_conv1d_fn(x, torch.tensor([[10.0, 1.0]])).tolist()
        [[[1.0, 11.0, 11.0, 11.0]]]
    """
    if isinstance(seq_idx, str):
        seq_idx, activation = None, seq_idx
    _check(x, weight, bias, activation)
    if seq_idx is not None and seq_idx.shape != (x.shape[0], x.shape[2]):
        raise InputError(
            f"causal_conv1d_fn: seq_idx has shape {tuple(seq_idx.shape)}, "
            f"expected {(x.shape[0], x.shape[2])}"
        )
    if seq_idx is not None and (initial_states is not None or return_final_states):
        raise InputError("causal_conv1d_fn: seq_idx cannot be combined with states, pass one")
    past = weight.shape[1] - 1
    if initial_states is not None and initial_states.shape != (*x.shape[:2], past):
        raise InputError(
            f"causal_conv1d_fn: initial_states has shape {tuple(initial_states.shape)}, "
            f"expected {(*x.shape[:2], past)}"
        )
    if seq_idx is None and initial_states is None and not return_final_states:
        return _natively(x, weight, bias, activation)
    if initial_states is None:
        history = F.pad(x, (past, 0))
    else:
        history = torch.cat([initial_states.to(x.dtype), x], dim=-1)
    if seq_idx is None:
        out = _convolve(history, weight, bias)
    else:
        out = _convolve_within(history, weight, bias, seq_idx)
    out = _activate(out, activation).to(x.dtype)
    if seq_idx is not None:
        out = out.masked_fill((seq_idx < 0).unsqueeze(1), 0.0)
    if not return_final_states:
        return out
    final = history[..., history.shape[-1] - past :]
    if final_states_out is None:
        return out, final.contiguous()
    return out, final_states_out.copy_(final)


def causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    cache_seqlens: Tensor | None = None,
    conv_state_indices: Tensor | None = None,
) -> Tensor:
    """Continue a causal convolution by a few tokens, updating its state in place.

    Args:
        x: `(b, d)` or `(b, d, l)`.
        conv_state: `(b, d, s)` with `s >= width - 1`, the latest inputs, newest last.
        weight: `(d, width)`.
        bias: `(d,)` or None.
        activation: None, `"silu"` or `"swish"`.
        cache_seqlens: `(b,)` integers; then the state is a ring whose next free place is
            `cache_seqlens % s`.
        conv_state_indices: `(b,)` integers, the row of `conv_state` of each sequence; a negative
            number marks padding, whose result is zero and which has no row.

    Returns:
        Like `x`.

    Raises:
        InputError: A shape, a type or an activation does not fit.

    Example:
        >>> state = torch.zeros(1, 1, 2)
        >>> causal_conv1d_update(torch.ones(1, 1), state, torch.tensor([[10.0, 1.0]])).item()
        1.0
        >>> state.tolist()
        [[[0.0, 1.0]]]
    """
    new = x.unsqueeze(-1) if x.dim() == 2 else x
    _check(new, weight, bias, activation)
    rows_given = conv_state.shape[0] if conv_state_indices is None else len(conv_state_indices)
    if conv_state.dim() != 3 or (rows_given, conv_state.shape[1]) != new.shape[:2]:
        raise InputError(
            f"causal_conv1d_update: conv_state has shape {tuple(conv_state.shape)}, which does not "
            f"fit x, {tuple(x.shape)}; expected (b, d, s)"
        )
    length, past = conv_state.shape[-1], weight.shape[1] - 1
    if length < past:
        raise InputError(
            f"causal_conv1d_update: conv_state keeps {length} inputs, expected at least {past}"
        )
    if conv_state_indices is not None and (conv_state_indices < 0).any():
        return _skipping_padding(
            x, conv_state, weight, bias, activation, cache_seqlens, conv_state_indices
        )
    rows = slice(None) if conv_state_indices is None else conv_state_indices.long()
    state = conv_state[rows]
    if cache_seqlens is None:
        history = torch.cat([state, new.to(state.dtype)], dim=-1)
        state = history[..., history.shape[-1] - length :]
        history = history[..., length - past :]
    else:
        before = _ring(cache_seqlens, -past, 0, length, state)
        history = torch.cat([state.gather(-1, before), new.to(state.dtype)], dim=-1)
        after = _ring(cache_seqlens, 0, new.shape[-1], length, state)
        state = state.scatter(-1, after, new.to(state.dtype))
    conv_state[rows] = state
    out = _activate(_convolve(history.to(x.dtype), weight, bias), activation).to(x.dtype)
    return out.squeeze(-1) if x.dim() == 2 else out


def causal_conv1d_ref(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    final_states_out: Tensor | None = None,
    activation: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolve as `causal_conv1d_fn` does, by PyTorch's own convolution."""
    _check(x, weight, bias, activation)
    past = (
        x.new_zeros(*x.shape[:2], weight.shape[1] - 1) if initial_states is None else initial_states
    )
    return causal_conv1d_fn(
        x, weight, bias, None, past, return_final_states, final_states_out, activation
    )


def causal_conv1d_update_ref(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    cache_seqlens: Tensor | None = None,
) -> Tensor:
    """Continue a convolution as `causal_conv1d_update` does: it has one way here."""
    return causal_conv1d_update(x, conv_state, weight, bias, activation, cache_seqlens)


def causal_conv1d_varlen_states(x: Tensor, cu_seqlens: Tensor, state_len: int) -> Tensor:
    """Return the last inputs of sequences that lie one behind the other.

    Args:
        x: `(tokens, d)`.
        cu_seqlens: `(b + 1,)` integers: where each sequence begins, then the number of tokens.
        state_len: How many of its last inputs a state keeps; zeros stand for those before it.

    Returns:
        `(b, d, state_len)`.

    Example:
        >>> causal_conv1d_varlen_states(torch.ones(3, 1), torch.tensor([0, 1, 3]), 2).tolist()
        [[[0.0, 1.0]], [[1.0, 1.0]]]
    """
    bounds = cu_seqlens.tolist()
    states = x.new_zeros(len(bounds) - 1, x.shape[1], state_len)
    for state, begin, end in zip(states, bounds[:-1], bounds[1:], strict=True):
        latest = x[max(begin, end - state_len) : end]
        state[:, state_len - len(latest) :] = latest.T
    return states


def _natively(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    if x.shape[-1] == 0:
        return torch.empty_like(x)
    # Half-precision inputs meet the weights as they are: rounding those would cost accuracy.
    wide = torch.promote_types(x.dtype, weight.dtype)
    taps, bias = weight.to(wide).unsqueeze(1), None if bias is None else bias.to(wide)
    out = causal_conv1d(
        x.transpose(1, 2).to(wide), taps, bias, "none" if activation is None else "silu"
    )
    return out.to(x.dtype).transpose(1, 2)


def _skipping_padding(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    cache_seqlens: Tensor | None,
    conv_state_indices: Tensor,
) -> Tensor:
    real = conv_state_indices >= 0
    out = torch.zeros_like(x)
    lengths = None if cache_seqlens is None else cache_seqlens[real]
    rows = conv_state_indices[real]
    out[real] = causal_conv1d_update(x[real], conv_state, weight, bias, activation, lengths, rows)
    return out


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> None:
    for name, given in (("x", x), ("weight", weight), ("bias", bias)):
        if given is not None and not (isinstance(given, Tensor) and given.is_floating_point()):
            kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
            raise InputError(f"{name} is {kind}, expected a tensor of floats")
    if activation not in (None, "silu", "swish"):
        raise InputError(f"activation is {activation!r}, expected None, 'silu' or 'swish'")
    if x.dim() != 3 or weight.dim() != 2 or x.shape[1] != weight.shape[0]:
        raise InputError(
            f"x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}, "
            "expected (b, d, l) and (d, width)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InputError(f"bias has shape {tuple(bias.shape)}, expected {tuple(weight.shape[:1])}")


def _convolve(history: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if history.shape[-1] < weight.shape[1]:
        return history[..., :0]
    wide = torch.promote_types(history.dtype, weight.dtype)
    weight, bias = weight.to(wide).unsqueeze(1), None if bias is None else bias.to(wide)
    return F.conv1d(history.to(wide), weight, bias, groups=weight.shape[0])


def _convolve_within(
    history: Tensor, weight: Tensor, bias: Tensor | None, seq_idx: Tensor
) -> Tensor:
    """Convolve tap by tap, dropping taps that reach into another sequence."""
    tokens, width = seq_idx.shape[-1], weight.shape[1]
    numbers = F.pad(seq_idx, (width - 1, 0), value=-1)
    out = history.new_zeros(*history.shape[:2], tokens)
    for tap in range(width):
        same = (numbers[:, tap : tap + tokens] == seq_idx).unsqueeze(1)
        out = out + weight[:, tap, None] * history[..., tap : tap + tokens] * same
    return out if bias is None else out + bias[:, None]


def _ring(seqlens: Tensor, start: int, stop: int, length: int, state: Tensor) -> Tensor:
    places = torch.arange(start, stop, device=state.device) + seqlens.long().unsqueeze(-1)
    return (places % length).unsqueeze(1).expand(-1, state.shape[1], -1)


def _activate(out: Tensor, activation: str | None) -> Tensor:
    return out if activation is None else F.silu(out)
