"""The scan by a plain loop, written again here: nothing under test vouches for itself."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

Scan = Callable[..., tuple[Tensor, Tensor]]


def _scan(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
    """Return y and the last state; every argument in `mamba_ssm`'s layout, any dtype."""
    d, length = u.shape[1:]
    delta = delta if delta_bias is None else delta + delta_bias[:, None]
    delta = F.softplus(delta) if delta_softplus else delta
    inputs, outputs = (_per_channel(p, d, length).unbind(-1) for p in (B, C))
    state = torch.zeros(len(u), d, A.shape[1], dtype=u.dtype)
    ys = []
    for u_t, delta_t, B_t, C_t in zip(u.unbind(-1), delta.unbind(-1), inputs, outputs, strict=True):
        state = torch.exp(delta_t[..., None] * A) * state + (delta_t * u_t)[..., None] * B_t
        ys.append((state * C_t).sum(-1))
    y = torch.stack(ys, -1)
    y = y if D is None else y + D[:, None] * u
    return (y if z is None else y * F.silu(z)), state


def _per_channel(p: Tensor, d: int, length: int) -> Tensor:
    if p.dim() == 2:
        return p[None, :, :, None].expand(1, -1, -1, length)
    p = p.unsqueeze(1) if p.dim() == 3 else p
    return p.repeat_interleave(d // p.shape[1], dim=1)


@pytest.fixture(scope="session")
def plain_scan() -> Scan:
    return _scan
