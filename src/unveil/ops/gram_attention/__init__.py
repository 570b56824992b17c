"""Self-attention over channels from their inner products, as one matrix per image."""

from torch import Tensor

from unveil.errors import InputError
from unveil.ops.dispatch import OpBackend, route
from unveil.ops.gram_attention.native import GRAM_ATTENTION, LANES

__all__ = ["gram_attention"]


def gram_attention(
    gram: Tensor,
    out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    temperature: Tensor,
    *,
    backend: OpBackend = "auto",
) -> Tensor:
    """Return W_o · (1 + attention) · W_v, the attention being over channels.

    With G the channels' inner products, those of queries and keys are W_q · G · W_kᵀ. Their cosines
    times the temperature pass a softmax over each head's keys. The native kernel needs a multiple
    of 16 channels; all else runs as plain operations.

    Args:
        gram: G, (b, c, c), symmetric.
        out: W_o, (o, c).
        query: W_q, (c, c).
        key: W_k, (c, c).
        value: W_v, (c, c).
        temperature: (heads, 1, 1); the heads divide c.
        backend: ``"auto"``, or ``"reference"`` or ``"native"``, which then runs or raises.

    Returns:
        (b, o, c), typed as gram.

    Raises:
        InputError: The shapes do not go together.
        BackendUnavailableError: The backend asked for cannot run this call.

    >>> import torch
    >>> one, gram = torch.eye(2), torch.eye(2)[None]
    >>> gram_attention(gram, one, one, one, one, torch.zeros(1, 1, 1))
    tensor([[[1.5000, 0.5000],
             [0.5000, 1.5000]]])
    """
    tensors = (gram, out, query, key, value, temperature)
    _check(*tensors)
    channels = gram.shape[2]
    limit = f"{channels} channels are no multiple of {LANES}" if channels % LANES else None
    chosen = route(backend, *tensors, limit=limit, products="gram_attention_forward")
    return GRAM_ATTENTION.run(chosen, *tensors)


def _check(
    gram: Tensor, out: Tensor, query: Tensor, key: Tensor, value: Tensor, temperature: Tensor
) -> None:
    if gram.dim() != 3 or gram.shape[1] != gram.shape[2]:
        raise InputError(f"gram has shape {tuple(gram.shape)}, expected (b, c, c)")
    c = gram.shape[2]
    if out.dim() != 2 or out.shape[1] != c:
        raise InputError(f"out has shape {tuple(out.shape)}, expected (o, {c})")
    for name, weight in (("query", query), ("key", key), ("value", value)):
        if weight.shape != (c, c):
            raise InputError(f"{name} has shape {tuple(weight.shape)}, expected ({c}, {c})")
    heads = temperature.numel()
    if temperature.shape != (heads, 1, 1) or not heads or c % heads:
        raise InputError(
            f"temperature has shape {tuple(temperature.shape)}, expected (heads, 1, 1), "
            f"heads a divisor of {c}"
        )
