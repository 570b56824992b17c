"""Pixels that attend to a few tokens of their image."""

from torch import Tensor

from unveil.errors import InputError
from unveil.ops.dispatch import OpBackend, route
from unveil.ops.token_attention.native import LANES, TOKEN_ATTENTION

__all__ = ["token_attention"]


def token_attention(
    x: Tensor,
    y: Tensor,
    gain: Tensor,
    keys: Tensor,
    values: Tensor,
    matrix: Tensor,
    *,
    heads: int,
    backend: OpBackend = "auto",
) -> Tensor:
    """Let pixels attend to tokens, and add a scaled residual and a linear map.

    out = x · gain + values · softmax(keys · y) + matrix · y per pixel, the softmax over each head's
    tokens. The native kernel needs channels in multiples of 16; all else runs as plain operations.

    Args:
        x: Features (b, h, w, c).
        y: Shaped as x.
        gain: (s, c); s, the sets, is b or 1 for all images.
        keys: (s, t, c), the tokens of all heads, scaled.
        values: (s, c, t).
        matrix: (s, c, c).
        heads: Divides t.
        backend: ``"auto"``, or ``"reference"`` or ``"native"``, which then runs or raises.

    Returns:
        Shaped and typed as x.

    Raises:
        InputError: The shapes do not go together.
        BackendUnavailableError: The backend asked for cannot run this call.

    >>> ones = torch.ones(1, 1, 1, 2)
    >>> keys, values = torch.zeros(1, 2, 2), torch.tensor([[[4.0, 2.0], [8.0, 2.0]]])
    >>> token_attention(ones, ones, torch.ones(1, 2), keys, values, torch.zeros(1, 2, 2), heads=1)
    tensor([[[[4., 6.]]]])
    """
    tensors = (x, y, gain, keys, values, matrix)
    _check(*tensors, heads)
    c = x.shape[3]
    limit = f"{c} channels are no multiple of {LANES}" if c % LANES else None
    chosen = route(backend, *tensors, limit=limit, products="token_attention_backward")
    return TOKEN_ATTENTION.run(chosen, *tensors, heads)


def _check(
    x: Tensor, y: Tensor, gain: Tensor, keys: Tensor, values: Tensor, matrix: Tensor, heads: int
) -> None:
    if x.dim() != 4:
        raise InputError(f"x has shape {tuple(x.shape)}, expected (b, h, w, c)")
    if keys.dim() != 3 or keys.shape[0] not in (1, x.shape[0]) or keys.shape[2] != x.shape[3]:
        raise InputError(
            f"keys has shape {tuple(keys.shape)}, expected ({x.shape[0]}, t, {x.shape[3]})"
        )
    sets, tokens, c = keys.shape
    if heads < 1 or tokens % heads:
        raise InputError(f"{tokens} tokens do not divide into {heads} heads")
    expected = {
        "y": x.shape,
        "gain": (sets, c),
        "values": (sets, c, tokens),
        "matrix": (sets, c, c),
    }
    for (name, shape), value in zip(expected.items(), (y, gain, values, matrix), strict=True):
        if value.shape != shape:
            raise InputError(f"{name} has shape {tuple(value.shape)}, expected {tuple(shape)}")
