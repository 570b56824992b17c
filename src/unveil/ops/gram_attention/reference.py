"""Attention over channels from their inner products, in plain PyTorch operations."""

import torch
from torch import Tensor


def plain_gram_attention(
    gram: Tensor, out: Tensor, query: Tensor, key: Tensor, value: Tensor, temperature: Tensor
) -> Tensor:
    """Fold the attention into one matrix per image, on tensors that `gram_attention` has checked.

    Args:
        gram: (b, c, c), symmetric.
        out: (o, c).
        query: (c, c).
        key: (c, c).
        value: (c, c).
        temperature: (heads, 1, 1).

    Returns:
        (b, o, c).
    """
    heads = (temperature.shape[0], -1)
    queries, keys = query @ gram, gram @ key.t()
    inner = queries.unflatten(1, heads) @ key.unflatten(0, heads).transpose(-1, -2)
    query_power = (queries * query).sum(-1).unflatten(-1, heads)
    key_power = (keys * key.t()).sum(-2).unflatten(-1, heads)
    attention = (cosines(inner, query_power, key_power) * temperature).softmax(-1)
    mixed = torch.einsum("bhqk,hkc->bhqc", attention, value.unflatten(0, heads)).flatten(1, 2)
    return out @ (value + mixed)


def cosines(gram: Tensor, query_power: Tensor, key_power: Tensor) -> Tensor:
    """Return cosines from inner products and squared lengths.

    Args:
        gram: ``(…, q, k)``, inner products.
        query_power: ``(…, q)``, squared lengths.
        key_power: ``(…, k)``, squared lengths.
    """
    lengths = query_power[..., :, None] * key_power[..., None, :]
    return gram * torch.rsqrt(lengths.clamp(min=0.0) + 1e-12)
