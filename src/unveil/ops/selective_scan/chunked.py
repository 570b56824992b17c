"""The selective scan in plain PyTorch operations: any device, differentiable, exportable.

The sequence is cut into chunks, a chunk into blocks. All blocks of a chunk run their own loop side
by side from a zero state; a second short loop carries the state across blocks, and each token adds
what the state before its block became: exp(sum of delta A since the block began) times that state.
No quotient of decays is ever taken, so nothing overflows where the recurrence does not.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from unveil.ops.dispatch import is_tracing, transformed
from unveil.ops.selective_scan.reference import per_channel

BLOCK = 16
CHUNK = 256


def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    """Run the recurrence chunk by chunk; the backward keeps one state per chunk and recomputes.

    Arguments and results are those of `reference.scan`.

    Args:
        u: (b, l, d).
        delta: (b, l, d) or (b, l, 1).
        A: (d, n) or (1, n).
        B: (b, l, g, n), g dividing d; b and l may be 1.
        C: As B.
        state: State before the first token (b, d, n).

    >>> one = torch.ones(1, 1, 1)
    >>> y, h = scan(one, one, -one[0], 2 * one[None], 3 * one[None], 0 * one)
    >>> y.item(), h.item()
    (6.0, 2.0)
    """
    length = u.shape[1]
    B, C = (x.expand(-1, length, -1, -1) for x in (B, C))
    # Under export, compile and tracing the graph itself decides what is kept.
    recorded = torch.compiler.is_compiling() or is_tracing()
    forget = torch.is_grad_enabled() and not recorded and transformed() is None
    outputs = []
    for start in range(0, length, CHUNK):
        size = min(CHUNK, length - start)
        u_part, delta_part, B_part, C_part = (x.narrow(1, start, size) for x in (u, delta, B, C))
        parts = (u_part, delta_part, B_part, C_part, A, state)
        if forget:
            y, state = checkpoint(_chunk, *parts, use_reentrant=False, preserve_rng_state=False)
        else:
            y, state = _chunk(*parts)
        outputs.append(y)
    return torch.cat(outputs, 1), state


def _chunk(
    u: Tensor, delta: Tensor, B: Tensor, C: Tensor, A: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    size = u.shape[1]
    block = min(BLOCK, size)
    blocks = -(-size // block)
    d = u.shape[2]
    drive = (delta * u)[..., None] * per_channel(B, d)
    log_decay, drive = (_in_blocks(x, blocks, block) for x in (delta[..., None] * A, drive))
    steps = [x.unbind(2) for x in (torch.exp(log_decay), drive)]
    local = [steps[1][0]]
    for decay, term in zip(steps[0][1:], steps[1][1:], strict=True):
        local.append(torch.addcmul(term, decay, local[-1]))
    inside = torch.stack(local, 2)
    since_start = torch.exp(log_decay.cumsum(2))
    befores = []
    for decay, term in zip(since_start[:, :, -1].unbind(1), local[-1].unbind(1), strict=True):
        befores.append(state)
        state = decay * state + term
    states = torch.addcmul(inside, since_start, torch.stack(befores, 1).unsqueeze(2))
    states = states.flatten(1, 2)[:, :size]
    return (states * per_channel(C, d)).sum(-1), state


def _in_blocks(x: Tensor, blocks: int, block: int) -> Tensor:
    """Shape (b, size, d, n) to (b, blocks, block, d, n); zeros at the end leave the state alone."""
    missing = blocks * block - x.shape[1]
    if missing:
        x = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, missing))
    return x.reshape(x.shape[0], blocks, block, *x.shape[2:])
