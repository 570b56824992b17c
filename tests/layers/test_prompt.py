import torch
import torch.nn.functional as F

from unveil.layers.attention import project_per_image
from unveil.layers.functional import cell_sums
from unveil.layers.prompt import PromptBlock, PromptMixer, _cell_means
from unveil.layers.statistics import GlobalStatistics
from unveil.ops import token_attention


def test_mixing_weights_are_a_softmax_and_blend_the_prompts():
    mixer = PromptMixer(4, length=3, dim=2, size=5)
    x = torch.randn(2, 6, 6, 4)
    weights = mixer.measure(x).softmax(-1)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2))
    expected = sum(weights[:, i, None, None, None] * mixer.prompts[i] for i in range(3))
    torch.testing.assert_close(mixer(x), expected)


def test_spatial_cross_attention_is_multi_head_attention_over_pooled_tokens():
    block = PromptBlock(8, length=3, dim=6, size=9, heads=2, grid=2).double()
    x = torch.randn(2, 4, 5, 8, dtype=torch.float64)
    prompt = block.mixer(x)
    spatial = block.spatial
    tokens = F.adaptive_avg_pool2d(prompt.permute(0, 3, 1, 2), 2).flatten(2).transpose(1, 2)
    tokens = spatial.norm(tokens)
    q, k, v = (
        item.view(2, -1, 2, 4).transpose(1, 2)
        for item in (spatial.query(x).flatten(1, 2), spatial.key(tokens), spatial.value(tokens))
    )
    expected = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 4, 5, 8)
    none = torch.zeros(2, 8, 8, dtype=x.dtype)
    got = token_attention(torch.zeros_like(x), x, none[:, 0], *spatial(prompt), none, heads=2)
    torch.testing.assert_close(got, spatial.out_proj(expected))


def test_channel_cross_attention_matches_its_plain_form_at_the_prompts_size():
    block = PromptBlock(8, length=3, dim=6, size=4, heads=2).double()
    x = torch.randn(1, 4, 4, 8, dtype=torch.float64)
    prompt, layer = block.mixer(x), block.channel
    q, k, v = (
        item.flatten(1, 2).transpose(1, 2).reshape(1, 2, 4, 16)
        for item in (layer.query(prompt), layer.key(x), layer.value(x))
    )
    attention = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)
    out = (attention * layer.temperature).softmax(-1) @ v
    expected = layer.out_proj(out.reshape(1, 8, 16).transpose(1, 2).reshape(1, 4, 4, 8))
    got = project_per_image(x, layer(x, prompt, None))
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)


def test_the_images_prompt_scales_the_features_themselves():
    block = PromptBlock(8, length=3, dim=6, size=4, heads=2)
    x = torch.randn(2, 4, 6, 8)
    before = block(x)
    torch.nn.init.normal_(block.gain.weight)
    prompt = block.mixer(x)
    added = prompt.mean((1, 2)) @ block.gain.weight.t()
    torch.testing.assert_close(block(x) - before, x * added[:, None, None])


def test_every_part_has_a_gradient_and_the_size_is_kept_at_one_pixel_too():
    block = PromptBlock(8, length=3, dim=6, size=4, heads=2)
    for size in ((4, 6), (1, 1)):
        assert block(torch.randn(2, *size, 8)).shape == (2, *size, 8)
    block(torch.randn(2, 4, 6, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in block.parameters())


@torch.no_grad()
def test_parts_of_an_image_that_know_their_place_pool_like_the_whole():
    block = PromptBlock(8, length=2, dim=4, size=4, heads=2).double()
    cross, prompt = block.channel, torch.rand(1, 4, 4, 4, dtype=torch.float64)
    x = torch.rand(1, 16, 12, 8, dtype=torch.float64)
    x += torch.linspace(0, 3, 16, dtype=torch.float64)[:, None, None]
    halves = torch.cat([x[:, :8], x[:, 8:]])
    whole, told, untold = (
        GlobalStatistics(places=places)
        for places in (None, torch.tensor([[0, 0.5, 0, 1], [0.5, 1, 0, 1]]), None)
    )
    expected = cross(x, prompt, whole)
    torch.testing.assert_close(cross(x, prompt, None), expected)
    together = torch.cat(list(cross(halves, prompt, told)))[None]
    torch.testing.assert_close(together, expected)
    cross(halves, prompt, untold)
    assert not torch.allclose(cross(x, prompt, untold.recorded()), expected, rtol=1e-3)


def test_what_no_part_has_shown_is_taken_for_the_mean_of_what_was_seen():
    x = torch.rand(1, 8, 8, 3, dtype=torch.float64)
    means = _cell_means(cell_sums(x, 4, torch.tensor([[0, 0.5, 0, 1]])))
    unseen = x.mean((1, 2))[:, None].expand(-1, 8, -1)
    torch.testing.assert_close(means[:, 8:], unseen)
    torch.testing.assert_close(means[:, 0], x[:, :4, :2].mean((1, 2)))


def test_a_prompt_that_is_given_serves_every_image_of_a_batch():
    class Given(GlobalStatistics):
        def statistic(self, name, compute):
            return weights if name == block.mixer.statistic_name else compute()

    torch.manual_seed(0)
    block = PromptBlock(8, length=3, dim=4, size=4, heads=2).eval()
    block.mixer.statistic_name = "mixer"
    x, weights = torch.randn(2, 9, 7, 8), torch.tensor([[0.2, 0.5, 0.3]])
    with torch.no_grad():
        apart = torch.cat([block(image[None], Given()) for image in x])
        torch.testing.assert_close(block(x, Given()), apart)
