import torch
import torch.nn.functional as F

from unveil.layers.attention import ChannelAttention, GatedFeedForward, GramAttention
from unveil.ops import channel_gram


def test_channel_attention_is_restormers_written_plainly():
    heads, c = 2, 8
    layer = ChannelAttention(c, heads).double()
    torch.nn.init.uniform_(layer.temperature, 0.5, 2.0)
    x = torch.randn(2, 5, 6, c, dtype=torch.float64)

    def convolved(linear, conv):
        y = linear(x).permute(0, 3, 1, 2)
        return F.conv2d(y, conv.weight, padding=1, groups=y.shape[1]).flatten(2)

    q, k = convolved(layer.query_key, layer.query_key_conv).chunk(2, 1)
    v = convolved(layer.value, layer.value_conv)
    q, k, v = (item.view(2, heads, c // heads, -1) for item in (q, k, v))
    attention = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)
    out = (attention * layer.temperature).softmax(-1) @ v
    expected = layer.out_proj(out.reshape(2, c, 5, 6).permute(0, 2, 3, 1))
    torch.testing.assert_close(layer(x), expected, rtol=1e-6, atol=1e-8)


def test_gram_attention_is_attention_with_explicit_queries_and_keys():
    heads, c = 3, 12
    layer = GramAttention(c, heads).double()
    y = torch.randn(2, 4, 4, c, dtype=torch.float64)
    q, k, v = (
        linear(y).flatten(1, 2).transpose(1, 2).reshape(2, heads, c // heads, -1)
        for linear in (layer.query, layer.key, layer.value)
    )
    attention = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)
    out = v + (attention * layer.temperature).softmax(-1) @ v
    out = out.reshape(2, c, 16).transpose(1, 2)
    weight = torch.randn(5, c, dtype=torch.float64)
    folded = y.flatten(1, 2) @ layer.folded(weight, y).transpose(1, 2)
    torch.testing.assert_close(folded, out @ weight.t(), rtol=1e-6, atol=1e-8)


def test_gram_attention_starts_with_full_rank():
    layer = GramAttention(48, 1)
    values = torch.linalg.svdvals(layer.folded(torch.eye(48), torch.randn(1, 16, 16, 48)))
    assert values.median() > values.max() / 10


def test_summaries_are_the_log_power_of_every_channel():
    y = torch.randn(2, 6, 5, 8)
    gram = GramAttention(8, 2)
    torch.testing.assert_close(gram.summary(channel_gram(y)), y.square().mean((1, 2)).log())
    full = ChannelAttention(8, 2)
    told = full.summary(full.measure(y))
    both = full.query_key_conv(full.query_key(y)).square().mean((1, 2)).log()
    torch.testing.assert_close(told.sort(1).values, both.sort(1).values)


def test_feed_forward_gates_one_half_with_gelu_of_the_other():
    layer = GatedFeedForward(6, 2.66).double()
    x = torch.randn(1, 3, 4, 6, dtype=torch.float64)
    hidden = layer.in_proj(x).permute(0, 3, 1, 2)
    hidden = F.conv2d(hidden, layer.conv.weight, padding=1, groups=30)
    first, second = hidden.permute(0, 2, 3, 1).chunk(2, -1)
    torch.testing.assert_close(layer(x), layer.out_proj(F.gelu(first) * second))
