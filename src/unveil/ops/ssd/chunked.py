"""Mamba-2's scan as products of matrices within chunks, in plain PyTorch operations."""

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 64


def scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    initial: Tensor,
    fresh: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Scan in chunks: y = (L ∘ C Bᵀ) (Δ x) inside a chunk, a state between them.

    Args:
        x: (b, l, h, p).
        dt: (b, l, h), processed.
        A: (h,).
        B: (b, l, g, n).
        C: (b, l, g, n).
        D: (h, p).
        initial: (b, h, p, n).
        fresh: (b, l) bool or None; where true, the state before that token is forgotten.

    Returns:
        y (b, l, h, p) and the last state (b, h, p, n).

    Source: Dao and Gu, "Transformers are SSMs" (arXiv:2405.21060), section 6 and listing 1.
    """
    tokens = x.shape[1]
    padding = -tokens % CHUNK
    heads_per_group = x.shape[2] // B.shape[2]
    B, C = (projection.repeat_interleave(heads_per_group, dim=2) for projection in (B, C))
    log_decay = dt * A
    scaled = dt.unsqueeze(-1) * x
    blocks = [_blocks(v, padding) for v in (log_decay.unsqueeze(-1), scaled, B, C)]
    decay, u, B, C = blocks[0].squeeze(-1), *blocks[1:]
    marks = None if fresh is None else _marks(fresh, padding)
    between = _decays(decay, marks)
    y = ((C @ B.mT) * between) @ u
    since, until = torch.exp(decay.cumsum(-1)), between[..., -1, :]
    if marks is not None:
        since = since.masked_fill(marks.cummax(-1).values > 0, 0.0)
    written = (until.unsqueeze(-1) * u).mT @ B
    state, before = initial, []
    for index in range(u.shape[2]):
        before.append(state)
        state = since[:, :, index, -1, None, None] * state + written[:, :, index]
    carried = torch.stack(before, dim=2)
    y = y + since.unsqueeze(-1) * (C @ carried.mT)
    y = y.flatten(2, 3)[:, :, :tokens].transpose(1, 2)
    return y + D * x, state


def _blocks(x: Tensor, padding: int) -> Tensor:
    """Cut (b, l, h, c) into (b, h, chunks, tokens, c), padded with zeros."""
    padded = F.pad(x, (0, 0, 0, 0, 0, padding))
    return torch.unflatten(padded, 1, (-1, CHUNK)).permute(0, 3, 1, 2, 4)


def _marks(fresh: Tensor, padding: int) -> Tensor:
    """Cut (b, l) into (b, 1, chunks, tokens), 1 where memory ends."""
    return torch.unflatten(F.pad(fresh.long(), (0, padding)), 1, (-1, CHUNK)).unsqueeze(1)


def _decays(log_decay: Tensor, marks: Tensor | None) -> Tensor:
    """Return exp of the sums of log-decays in (s, t], zero where t < s or memory ends between.

    The sums are taken over the terms themselves: a difference of cumulative sums would lose digits.
    """
    size = log_decay.shape[-1]
    below = torch.ones(size, size, dtype=torch.bool, device=log_decay.device).tril(-1)
    terms = log_decay.unsqueeze(-1).expand(*log_decay.shape, size).masked_fill(~below, 0.0)
    decays = torch.exp(terms.cumsum(-2)).masked_fill(below.T, 0.0)
    if marks is None:
        return decays
    ends = marks.cumsum(-1)
    return decays * (ends.unsqueeze(-1) == ends.unsqueeze(-2))
