"""The selective scan as the obvious loop: slow, exact in any dtype, what the others are held to.

Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces"
(arXiv:2312.00752), equations 2a and 4 with the simplified discretisation of B.
"""

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus


def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    """Run h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t, y_t = C_t h_t, token by token.

    The sequences are taken apart and put together once: slicing whole tensors at each step would
    make the backward quadratic in l.

    Args:
        u: (b, l, d).
        delta: (b, l, d) or (b, l, 1), after bias and softplus.
        A: (d, n) or (1, n).
        B: (b, l, g, n), g dividing d; b and l may be 1.
        C: As B.
        state: (b, d, n), the state before the first token.

    Returns:
        y (b, l, d) and the state after the last token (b, d, n).

    >>> one = torch.ones(1, 1, 1)
    >>> y, h = scan(one, one, -one[0], 2 * one[None], 3 * one[None], 0 * one)
    >>> y.item(), h.item()
    (6.0, 2.0)
    """
    length, d = u.shape[1:]
    steps = [x.expand(-1, length, *x.shape[2:]).unbind(1) for x in (u, delta, B, C)]
    outputs = []
    for u_t, delta_t, B_t, C_t in zip(*steps, strict=True):
        drive = (delta_t * u_t)[..., None] * per_channel(B_t, d)
        state = torch.exp(delta_t[..., None] * A) * state + drive
        outputs.append((per_channel(C_t, d) * state).sum(-1))
    return torch.stack(outputs, 1), state


def per_channel(x: Tensor, d: int) -> Tensor:
    """Repeat groups (..., g, n) to channels (..., d, n); one group is left to broadcasting.

    Args:
        x: (..., g, n).
        d: Number of channels, a multiple of g.

    >>> per_channel(torch.ones(2, 3), 4).shape
    torch.Size([4, 3])
    """
    groups = x.shape[-2]
    return x if groups in (1, d) else x.repeat_interleave(d // groups, -2)


def step_sizes(delta: Tensor, bias: Tensor | None, apply_softplus: bool) -> Tensor:
    """Return softplus(delta + bias), channels last.

    Args:
        delta: (b, l, d) or (b, l, 1).
        bias: (d,) or (1,).
        apply_softplus: Whether softplus follows the bias.

    >>> step_sizes(torch.zeros(1, 1, 1), torch.ones(1), False).item()
    1.0
    """
    if bias is not None:
        delta = delta + bias
    return softplus(delta) if apply_softplus else delta


def gated(y: Tensor, u: Tensor, D: Tensor | None, z: Tensor | None) -> Tensor:
    """Return (y + D u) SiLU(z), channels last.

    Args:
        y: (b, l, d).
        u: (b, l, d).
        D: (d,).
        z: (b, l, d).

    >>> one = torch.ones(1, 1, 1)
    >>> gated(one, one, torch.ones(1), None).item()
    2.0
    """
    if D is not None:
        y = y + D * u
    return y if z is None else y * silu(z)
