import pytest
import torch
from tests.models.calls import record_calls
from torch import nn

from unveil import create_model
from unveil.errors import InputError
from unveil.layers.attention import ChannelAttention
from unveil.layers.convolution import Downsample, Upsample
from unveil.layers.mamba import VisionSSM
from unveil.layers.prompt import PromptBlock
from unveil.models.base import count_parameters
from unveil.models.mtair import DualBlock, PlainBlock

# PAPERS' table: width, blocks, heads, dual.
ENCODER = [(48, 4, 1, True), (96, 6, 2, True), (192, 6, 4, False), (384, 8, 8, False)]
DECODER = [(96, 4, 1, True), (96, 6, 2, True), (192, 6, 4, False)]
PROMPTS = [(48, 64, 128), (96, 128, 64), (192, 320, 32), (384, 320, 16)]


@pytest.fixture(scope="module")
def base():
    with torch.device("meta"):
        return create_model("mtair_base")


def _check(stage, width, count, heads, dual):
    assert len(stage.blocks) == count
    for block in stage.blocks:
        assert type(block) is (DualBlock if dual else PlainBlock)
        assert block.norm.weight.shape == (width,)
        assert block.norm.bias is not None
        assert block.attention.heads == heads
        assert block.ffn.out_proj.weight.shape == (width, int(width * 2.66))
        if dual:
            assert block.scan.scan.orders == ("row", "column", "row_reversed", "column_reversed")
            assert block.scan.scan.d_state == 16
            assert block.scan.scan.D.shape == (4, 2 * width)
            assert block.scan.scan.dt_rank == -(-width // 16)


def test_base_is_the_published_skeleton_stage_by_stage(base):
    assert base.embed.weight.shape == (48, 3, 3, 3)
    for stage, row in zip([*base.encoder, base.latent], ENCODER, strict=True):
        _check(stage, *row)
    for stage, row in zip(base.decoder, DECODER, strict=True):
        _check(stage, *row)
    _check(base.refinement, 96, 4, 1, False)
    for down, (width, *_) in zip(base.downs, ENCODER, strict=False):
        assert isinstance(down, Downsample)
        assert down.conv.weight.shape[:2] == (width // 2, width)
    for up, (width, *_) in zip(base.ups, ENCODER[1:], strict=True):
        assert isinstance(up, Upsample)
        assert up.conv.weight.shape[:2] == (2 * width, width)
    assert isinstance(base.merges[0], nn.Identity)
    assert [tuple(m.weight.shape) for m in base.merges[1:]] == [(96, 192), (192, 384)]
    assert base.head.weight.shape == (3, 96, 3, 3)
    assert base.embed.bias is base.head.bias is None
    assert base.size_multiple == 8


def test_base_has_the_published_prompts(base):
    for prompt, (width, dim, size) in zip(base.prompts, PROMPTS, strict=True):
        assert isinstance(prompt, PromptBlock)
        assert prompt.mixer.prompts.shape == (5, size, size, dim)
        assert prompt.mixer.to_logits.weight.shape == (5, width)
        assert prompt.spatial.heads == prompt.channel.heads == 4


@pytest.mark.parametrize(
    ("name", "count"),
    [("mtair_base", 39_657_176), ("mtair_small", 1_429_690), ("mtair_tiny", 26_751)],
)
def test_parameter_counts_are_pinned(name, count):
    with torch.device("meta"):
        assert count_parameters(create_model(name)) == count


def test_the_parts_of_base_have_the_sizes_its_header_states(base):
    def millions(name):
        return round(count_parameters(getattr(base, name)) / 1e6, 2)

    parts = ("encoder", "downs", "latent", "prompts", "ups", "merges", "decoder", "refinement")
    assert [millions(name) for name in parts] == [4.35, 0.22, 14.37, 11.7, 3.48, 0.09, 4.97, 0.47]


def test_features_take_the_published_way_through_the_network():
    prompt = {"prompt_dim": 4, "prompt_size": 4}
    levels = [{"width": 8 * 2**i, "encoder": 1, "decoder": int(i < 2)} | prompt for i in range(3)]
    model = create_model("mtair_base", levels=levels, refinement=1, d_state=2).eval()
    x = torch.rand(1, 3, 8, 12)
    seen = record_calls(model, x)
    taken = (("embed", "encoder.0"), ("encoder.0", "downs.0"), ("downs.0", "encoder.1"))
    taken += (("encoder.1", "downs.1"), ("downs.1", "latent"), ("latent", "prompts.2"))
    taken += (("encoder.0", "prompts.0"), ("encoder.1", "prompts.1"), ("prompts.2", "ups.1"))
    taken += (("merges.1", "decoder.1"), ("decoder.1", "ups.0"), ("merges.0", "decoder.0"))
    for before, after in (*taken, ("decoder.0", "refinement"), ("refinement", "head")):
        assert torch.equal(seen[before].result, seen[after].given), (before, after)
    for level in (0, 1):
        joined = torch.cat([seen[f"ups.{level}"].result, seen[f"prompts.{level}"].result], -1)
        expected = joined @ model.merges[1].weight.t() if level else joined
        torch.testing.assert_close(seen[f"merges.{level}"].result, expected)
        assert not torch.equal(seen[f"prompts.{level}"].given, seen[f"prompts.{level}"].result)
    assert torch.equal(seen[""].result, x + seen["head"].result.permute(0, 3, 1, 2))


def test_mix_every_leaves_the_other_units_without():
    level = {"width": 8, "encoder": 4, "prompt_dim": 8, "prompt_size": 4, "mix_every": 2}
    model = create_model("mtair_tiny", levels=[level])
    has = [(unit.scan is not None, unit.mixer is not None) for unit in model.latent.blocks]
    assert has == [(False, False), (True, True)] * 2


@pytest.mark.parametrize("bias", [True, False])
def test_only_with_a_bias_in_the_embedding_do_the_blocks_see_brightness(bias):
    network = create_model("mtair_tiny", embed_bias=bias)
    if bias:
        nn.init.normal_(network.embed.bias)
    norm = network.encoder[0].blocks[0].norm
    dark, bright = (norm(network.embed(torch.full((1, 4, 4, 12), v)))[0, 1, 1] for v in (0.2, 0.8))
    assert torch.allclose(dark, bright, rtol=1e-3) is not bias


def test_counts_lie_where_the_paper_and_the_budget_want_them(base):
    assert 38_000_000 <= count_parameters(base) <= 40_000_000
    assert count_parameters(create_model("mtair_small")) <= 2_000_000
    assert count_parameters(create_model("mtair_tiny")) < 100_000


@pytest.mark.parametrize("name", ["mtair_base", "mtair_tiny"])
def test_switches_change_what_they_name(name):
    def names(**overrides):
        with torch.device("meta"):
            return {n for n, _ in create_model(name, **overrides).named_parameters()}

    whole = names()
    assert all(n.startswith("prompts.") for n in whole - names(prompts=False))
    assert any(n.startswith("prompts.") for n in whole)
    without_channel, without_spatial = names(branches="spatial"), names(branches="channel")
    assert without_channel < whole
    assert without_spatial < whole
    assert all("scan" in n for n in whole - without_spatial)
    assert not any("project_scan" in n or ".A_log" in n for n in without_spatial)


@pytest.mark.parametrize(("name", "first"), [("mtair_small", 1), ("mtair_base", 0)])
def test_branches_take_turns(name, first):
    with torch.device("meta"):
        model = create_model(name, branches="turns")
    stage = model.latent if name == "mtair_small" else model.encoder[0]
    names = [{n.split(".")[0] for n, _ in block.named_parameters()} for block in stage.blocks]
    attention = "mixer" if name == "mtair_small" else "attention"
    step = 2 * (first + 1)
    assert [i for i, n in enumerate(names) if "scan" in n] == [*range(first, len(names), step)]
    second = 2 * first + 1
    assert [i for i, n in enumerate(names) if attention in n] == [*range(second, len(names), step)]


def test_joined_branches_are_one_convolution_of_both():
    attention, scan = ChannelAttention(8, 2), VisionSSM(8, d_state=4)
    torch.manual_seed(0)
    block = DualBlock(8, attention, scan, 2.0, "concat")
    nn.init.zeros_(block.ffn.out_proj.weight)
    x = torch.randn(1, 6, 5, 8)
    y = block.norm(x)
    left, right = block.fuse.weight[:, :8], block.fuse.weight[:, 8:]
    torch.testing.assert_close(block(x), x + attention(y) @ left.T + scan(y) @ right.T)
    assert not [name for name, _ in block.named_parameters() if name.endswith("_scale")]
    alone = DualBlock(8, attention, None, 2.0, "concat")  # nothing to join
    assert alone.fuse is None
    with pytest.raises(InputError, match="block"):
        create_model("mtair_small", fusion="concat")


def test_prompt_weights_are_per_image_and_sum_to_one():
    model = create_model("mtair_tiny").eval()
    x = torch.rand(3, 3, 8, 8)
    weights = model.prompt_weights(x)
    assert weights.shape == (3, 2, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2))
    torch.testing.assert_close(weights[1:2], model.prompt_weights(x[1:2]))


def test_prompt_weights_of_a_network_without_prompts_are_refused():
    with pytest.raises(InputError, match="without prompts"):
        create_model("mtair_tiny", prompts=False).prompt_weights(torch.rand(1, 3, 8, 8))


def test_prompt_weights_do_not_depend_on_the_size():
    model = create_model("mtair_tiny").eval()
    x = torch.rand(1, 3, 8, 8)
    tiled = x.repeat(1, 1, 4, 4)
    # The same picture repeated has the same statistics, up to the borders; another one has not.
    alike = (model.prompt_weights(x) - model.prompt_weights(tiled)).abs().max()
    unlike = (model.prompt_weights(x) - model.prompt_weights(x.square() / 4)).abs().max()
    assert alike < unlike / 2
