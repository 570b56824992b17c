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
    queries, keys, heads = query @ gram, gram @ key.t(), temperature.shape[0]
    inner = _by_head(queries, heads, 1) @ _by_head(key, heads, 0).transpose(-1, -2)
    query_power = _by_head((queries * query).sum(-1), heads, -1)
    key_power = _by_head((keys * key.t()).sum(-2), heads, -1)
    attention = (cosines(inner, query_power, key_power) * temperature).softmax(-1)
    mixed = torch.einsum("bhqk,hkc->bhqc", attention, _by_head(value, heads, 0)).flatten(1, 2)
    return out @ (value + mixed)


def _by_head(x: Tensor, heads: int, dim: int) -> Tensor:
    split: Tensor = torch.unflatten(x, dim, (heads, -1))
    return split


def cosines(gram: Tensor, query_power: Tensor, key_power: Tensor) -> Tensor:
    """Return cosines from inner products and squared lengths.

    Args:
        gram: ``(…, q, k)``, inner products.
        query_power: ``(…, q)``, squared lengths.
        key_power: ``(…, k)``, squared lengths.
    """
    lengths = query_power[..., :, None] * key_power[..., None, :]
    # Not a sum: ONNX exporters drop what they add, as small as this, for no sum at all.
    return gram * torch.rsqrt(lengths.clamp(min=1e-12))
