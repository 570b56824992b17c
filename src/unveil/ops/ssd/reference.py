"""Mamba-2's scan, token by token: slow and obvious."""

import torch
from torch import Tensor


def loop(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    initial: Tensor,
    fresh: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Take one token after another; arguments as `chunked.scan`.

    Args:
        x: (b, l, h, p).
        dt: (b, l, h).
        A: (h,).
        B: (b, l, g, n).
        C: (b, l, g, n).
        D: (h, p).
        initial: (b, h, p, n).
        fresh: (b, l) booleans: where the state is forgotten; None for nowhere.
    """
    per_group = x.shape[2] // B.shape[2]
    B, C = (projection.repeat_interleave(per_group, dim=2) for projection in (B, C))
    state, outputs = initial, []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t] * A)
        if fresh is not None:
            decay = decay.masked_fill(fresh[:, t, None], 0.0)
        written = (dt[:, t, :, None] * x[:, t]).unsqueeze(-1) * B[:, t].unsqueeze(-2)
        state = decay[..., None, None] * state + written
        outputs.append((state @ C[:, t].unsqueeze(-1)).squeeze(-1) + D * x[:, t])
    return torch.stack(outputs, dim=1), state
