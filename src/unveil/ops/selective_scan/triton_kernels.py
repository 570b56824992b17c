"""GPU kernels of the selective scan, in Triton; compiled, or interpreted if TRITON_INTERPRET=1.

A program owns a few channels of one sequence, all n states of them, and walks along the sequence in
chunks. Inside a chunk all tokens advance together: the recurrence h_t = a_t h_(t-1) + x_t is an
associative scan of the pairs (a, x). The state before each chunk is kept for the backward, which
walks the chunks from the last to the first and scans twice: states forward, their gradients
g_t = dy_t C_t + a_(t+1) g_(t+1) in reverse.

Importing this module needs triton.
"""
# mypy: ignore-errors
# ruff: noqa: PLR0915 (a kernel is one function)

import triton
import triton.language as tl


@triton.jit
def _after(a_first, x_first, a_second, x_second):
    """Compose two steps h -> a h + x."""
    return a_first * a_second, x_first * a_second + x_second


@triton.jit
def _softplus(x):
    # log(1 + y) keeps its relative precision for small y as y log(w) / (w - 1), w = 1 + y.
    y = tl.exp(-tl.abs(x))
    w = 1.0 + y
    log1p = tl.where(w == 1.0, y, tl.log(w) * (y / tl.where(w == 1.0, 1.0, w - 1.0)))
    return tl.maximum(x, 0.0) + log1p


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _at(base, strides, b, token, other):
    """Point at (b, token, other): a block of rows (tokens) by columns (channels or states)."""
    return base + b * strides[0] + token[:, None] * strides[1] + other[None, :] * strides[2]


@triton.jit
def _load(base, strides, b, token, other, live):
    return tl.load(_at(base, strides, b, token, other), mask=live, other=0.0).to(tl.float32)


@triton.jit
def _steps(delta, delta_strides, bias, b, token, channel, live, SOFTPLUS: tl.constexpr):
    """Return step sizes, zero where not live, so that the state passes unchanged, and their raw."""
    raw = _load(delta, delta_strides, b, token, channel, live)
    if bias is not None:
        raw += tl.load(bias + channel).to(tl.float32)[None, :]
    size = _softplus(raw) if SOFTPLUS else raw
    return tl.where(live, size, 0.0), raw


@triton.jit
def forward(
    u, u_strides, delta, delta_strides, A, B, B_strides, C, C_strides, D, z, z_strides, bias, state,
    y, y_strides, last, kept, length, channels, states, B_width, C_width,
    SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
    STATES: tl.constexpr,
):  # fmt: skip
    """Scan `CHANNELS` channels of one sequence; strides are (b, l, d), for B and C (b, l, n, g)."""
    b, block = tl.program_id(1).to(tl.int64), tl.program_id(0)
    channel = block * CHANNELS + tl.arange(0, CHANNELS)
    row, n = tl.arange(0, TOKENS), tl.arange(0, STATES)
    own = channel[:, None] * states + n[None, :]
    is_state = (n < states)[None, :]
    A_block = tl.load(A + own, mask=is_state, other=0.0).to(tl.float32)
    B += (block * CHANNELS // B_width) * B_strides[3]
    C += (block * CHANNELS // C_width) * C_strides[3]
    carry = tl.zeros((CHANNELS, STATES), tl.float32)
    if state is not None:
        carry = tl.load(state + b * channels * states + own, mask=is_state, other=0.0)
    chunks = tl.cdiv(length, TOKENS)
    for chunk in range(chunks):
        t = chunk * TOKENS + row
        live, live_n = (t < length)[:, None], (t < length)[:, None] & (n < states)[None, :]
        token = (length - 1 - t if REVERSE else t).to(tl.int64)
        if kept is not None:
            tl.store(kept + (b * chunks + chunk) * channels * states + own, carry, mask=is_state)
        size, _ = _steps(delta, delta_strides, bias, b, token, channel, live, SOFTPLUS)
        u_block = _load(u, u_strides, b, token, channel, live)
        B_block = _load(B, B_strides, b, token, n, live_n)
        C_block = _load(C, C_strides, b, token, n, live_n)
        a = tl.exp(size[:, :, None] * A_block[None, :, :])
        x = (size * u_block)[:, :, None] * B_block[:, None, :]
        x = tl.where((row == 0)[:, None, None], a * carry[None, :, :] + x, x)
        _, h = tl.associative_scan((a, x), 0, _after)
        out = tl.sum(h * C_block[:, None, :], axis=2)
        if D is not None:
            out += u_block * tl.load(D + channel).to(tl.float32)[None, :]
        if z is not None:
            gate = _load(z, z_strides, b, token, channel, live)
            out *= gate * _sigmoid(gate)
        tl.store(_at(y, y_strides, b, token, channel), out.to(y.dtype.element_ty), mask=live)
        carry = tl.sum(tl.where((row == TOKENS - 1)[:, None, None], h, 0.0), axis=0)
    tl.store(last + b * channels * states + own, carry, mask=is_state)


@triton.jit
def backward(
    u, u_strides, delta, delta_strides, A, B, B_strides, C, C_strides, D, z, z_strides, bias, kept,
    dy, dy_strides, dlast, du, du_strides, ddelta, ddelta_strides, dA, dB, dC, dB_strides,
    dC_strides, dD, dz, dz_strides, dbias, dstate, length, channels, states, B_width, C_width,
    SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
    STATES: tl.constexpr,
):  # fmt: skip
    """Write the gradients of `forward`; dB and dC are added to, those of parameters are per b."""
    b, block = tl.program_id(1).to(tl.int64), tl.program_id(0)
    channel = block * CHANNELS + tl.arange(0, CHANNELS)
    row, n = tl.arange(0, TOKENS), tl.arange(0, STATES)
    own = channel[:, None] * states + n[None, :]
    is_state = (n < states)[None, :]
    A_block = tl.load(A + own, mask=is_state, other=0.0).to(tl.float32)
    B_group, C_group = block * CHANNELS // B_width, block * CHANNELS // C_width
    B += B_group * B_strides[3]
    C += C_group * C_strides[3]
    dB += B_group * dB_strides[3]
    dC += C_group * dC_strides[3]
    dA_sum = tl.zeros((CHANNELS, STATES), tl.float32)
    dD_sum = tl.zeros((CHANNELS,), tl.float32)
    dbias_sum = tl.zeros((CHANNELS,), tl.float32)
    # What the tokens after this chunk contribute to the gradient of its last state.
    carry = tl.load(dlast + b * channels * states + own, mask=is_state, other=0.0)
    chunks = tl.cdiv(length, TOKENS)
    for i in range(chunks):
        chunk = chunks - 1 - i
        t = chunk * TOKENS + row
        live, live_n = (t < length)[:, None], (t < length)[:, None] & (n < states)[None, :]
        token = (length - 1 - t if REVERSE else t).to(tl.int64)
        step = -1 if REVERSE else 1
        size, raw = _steps(delta, delta_strides, bias, b, token, channel, live, SOFTPLUS)
        u_block = _load(u, u_strides, b, token, channel, live)
        B_block = _load(B, B_strides, b, token, n, live_n)
        C_block = _load(C, C_strides, b, token, n, live_n)
        a = tl.exp(size[:, :, None] * A_block[None, :, :])
        # States before each token: the same scan one token later, begun by the state kept.
        follows, follows_n = live & (row > 0)[:, None], live_n & (row > 0)[:, None]
        before = token - step
        size_before, _ = _steps(delta, delta_strides, bias, b, before, channel, follows, SOFTPLUS)
        u_before = _load(u, u_strides, b, before, channel, follows)
        B_before = _load(B, B_strides, b, before, n, follows_n)
        start = tl.load(
            kept + (b * chunks + chunk) * channels * states + own, mask=is_state, other=0.0
        )
        x_before = (size_before * u_before)[:, :, None] * B_before[:, None, :]
        x_before = tl.where((row == 0)[:, None, None], start[None, :, :], x_before)
        a_before = tl.exp(size_before[:, :, None] * A_block[None, :, :])
        _, h_before = tl.associative_scan((a_before, x_before), 0, _after)
        decayed = a * h_before
        h = decayed + (size * u_block)[:, :, None] * B_block[:, None, :]
        dy_block = _load(dy, dy_strides, b, token, channel, live)
        D_block = tl.zeros((CHANNELS,), tl.float32)
        if D is not None:
            D_block = tl.load(D + channel).to(tl.float32)
        if z is not None:
            out = tl.sum(h * C_block[:, None, :], axis=2) + u_block * D_block[None, :]
            gate = _load(z, z_strides, b, token, channel, live)
            opened = _sigmoid(gate)
            dz_block = dy_block * out * opened * (1.0 + gate * (1.0 - opened))
            at = _at(dz, dz_strides, b, token, channel)
            tl.store(at, dz_block.to(dz.dtype.element_ty), mask=live)
            dy_block *= gate * opened
        # Gradients of the states, from the last token to the first.
        precedes = (t + 1 < length)[:, None] & (row < TOKENS - 1)[:, None]
        size_next, _ = _steps(
            delta, delta_strides, bias, b, token + step, channel, precedes, SOFTPLUS
        )
        a_next = tl.exp(size_next[:, :, None] * A_block[None, :, :])
        w = dy_block[:, :, None] * C_block[:, None, :]
        w = tl.where((row == TOKENS - 1)[:, None, None], w + carry[None, :, :], w)
        _, g = tl.associative_scan((a_next, w), 0, _after, reverse=True)
        carry = tl.sum(tl.where((row == 0)[:, None, None], a * g, 0.0), axis=0)

        by_input = tl.sum(g * B_block[:, None, :], axis=2)
        dsize = tl.sum(g * A_block[None, :, :] * decayed, axis=2) + u_block * by_input
        if SOFTPLUS:
            dsize *= _sigmoid(raw)
        dsize = tl.where(live, dsize, 0.0)
        du_block = size * by_input + dy_block * D_block[None, :]
        at = _at(du, du_strides, b, token, channel)
        tl.store(at, du_block.to(du.dtype.element_ty), mask=live)
        at = _at(ddelta, ddelta_strides, b, token, channel)
        tl.store(at, dsize.to(ddelta.dtype.element_ty), mask=live)
        dB_block = tl.sum(g * (size * u_block)[:, :, None], axis=1)
        dC_block = tl.sum(h * dy_block[:, :, None], axis=1)
        tl.atomic_add(_at(dB, dB_strides, b, token, n), dB_block, mask=live_n)
        tl.atomic_add(_at(dC, dC_strides, b, token, n), dC_block, mask=live_n)
        dA_sum += tl.sum(g * size[:, :, None] * decayed, axis=0)
        dD_sum += tl.sum(dy_block * u_block, axis=0)
        dbias_sum += tl.sum(dsize, axis=0)
    tl.store(dA + b * channels * states + own, dA_sum, mask=is_state)
    tl.store(dstate + b * channels * states + own, carry, mask=is_state)
    tl.store(dD + b * channels + channel, dD_sum)
    tl.store(dbias + b * channels + channel, dbias_sum)
