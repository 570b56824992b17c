from itertools import pairwise

import pytest
import torch
from tests.models.calls import record_calls

from unveil import create_model
from unveil.errors import InputError
from unveil.layers.channel_ssm import ChannelSSM
from unveil.layers.convolution import Downsample, Upsample
from unveil.layers.mamba import MambaBlock
from unveil.layers.scan import ImageScan
from unveil.models.base import count_parameters
from unveil.models.cu_mamba import ChannelBlock, SpatialBlock


@pytest.fixture(scope="module")
def base():
    with torch.device("meta"):
        return create_model("cu_mamba_base")


def test_base_is_the_papers_u_net_stage_by_stage(base):
    widths, blocks = (48, 96, 192, 384), (4, 6, 6, 8)
    stages = [*base.encoder, base.latent]
    for stage, width, count in zip(stages, widths, blocks, strict=True):
        assert len(stage.blocks) == count
        for block in stage.blocks:
            spatial, channel = block.blocks
            assert isinstance(spatial, SpatialBlock)
            assert isinstance(channel, ChannelBlock)
            assert isinstance(spatial.mixer, MambaBlock)
            assert spatial.pointwise.weight.shape == (width, width)
            assert spatial.mixer.scan.D.shape == (1, 2 * width)
            assert spatial.mixer.scan.d_state == 16
            assert spatial.mixer.conv.weight.shape[-1] == 4
            assert spatial.mixer.scan.orders == ("row",)
            assert len(channel.smooth) == 2
            assert channel.scan.options.directions == 1
    for stage, width, count in zip(base.decoder, widths, blocks, strict=False):
        assert len(stage.blocks) == count
        assert stage.blocks[0].blocks[0].pointwise.weight.shape == (width, width)
    assert all(isinstance(down, Downsample) for down in base.downs)
    assert all(isinstance(up, Upsample) for up in base.ups)
    assert [tuple(m.weight.shape) for m in base.merges] == [(w, 2 * w) for w in widths[:3]]
    assert base.size_multiple == 8


@pytest.mark.parametrize(
    ("name", "count"),
    [("cu_mamba_base", 23_273_371), ("cu_mamba_small", 899_004), ("cu_mamba_tiny", 19_507)],
)
def test_parameter_counts_are_pinned(name, count):
    with torch.device("meta"):
        assert count_parameters(create_model(name)) == count


def test_small_and_tiny_keep_their_promises():
    assert count_parameters(create_model("cu_mamba_small", channel_ssm=True)) <= 1_500_000
    assert count_parameters(create_model("cu_mamba_tiny")) < 100_000


@pytest.mark.parametrize("name", ["cu_mamba_base", "cu_mamba_small", "cu_mamba_tiny"])
@pytest.mark.parametrize("spatial", [True, False])
@pytest.mark.parametrize("channel", [True, False])
def test_switches_remove_just_the_ssm_they_name(name, spatial, channel):
    with torch.device("meta"):
        model = create_model(name, spatial_ssm=spatial, channel_ssm=channel)
        whole = create_model(name, spatial_ssm=True, channel_ssm=True)
    modules = list(model.modules())
    assert any(isinstance(m, ImageScan) for m in modules) is spatial
    assert any(isinstance(m, ChannelSSM) for m in modules) is channel
    removed = {n for n, _ in whole.named_parameters()} - {n for n, _ in model.named_parameters()}
    if name == "cu_mamba_base":
        in_spatial = (".blocks.0.mixer.",)
        in_channel = tuple(f".blocks.1.{part}" for part in ("scan.", "taps", "out_proj."))
    else:
        in_spatial, in_channel = (".scan.",), (".mixer.",)
    expected = (() if spatial else in_spatial) + (() if channel else in_channel)
    assert all(any(part in n for part in expected) for n in removed)
    assert all(any(part in n for n in removed) for part in expected)


def test_features_take_the_papers_way_through_the_u_net():
    levels = [{"width": 8 * 2**i, "encoder": 1, "decoder": int(i < 2)} for i in range(3)]
    model = create_model("cu_mamba_base", levels=levels, d_state=2).eval()
    x = torch.rand(1, 3, 8, 12)
    seen = record_calls(model, x)
    taken = (("stem", "encoder.0"), ("encoder.0", "downs.0"), ("downs.0", "encoder.1"))
    taken += (("encoder.1", "downs.1"), ("downs.1", "latent"), ("latent", "ups.1"))
    taken += (("merges.1", "decoder.1"), ("decoder.1", "ups.0"), ("merges.0", "decoder.0"))
    for before, after in (*taken, ("decoder.0", "head")):
        assert torch.equal(seen[before].result, seen[after].given), (before, after)
    for level in (0, 1):
        merged, weight = seen[f"merges.{level}"], model.merges[level].weight
        joined = torch.cat([seen[f"ups.{level}"].result, seen[f"encoder.{level}"].result], -1)
        assert torch.equal(merged.given, seen[f"ups.{level}"].result)
        torch.testing.assert_close(merged.result, joined @ weight.t())
    assert torch.equal(seen[""].result, x + seen["head"].result.permute(0, 3, 1, 2))


def test_scan_orders_alternate_from_block_to_block():
    model = create_model("cu_mamba_small")
    scans = [m.orders for m in model.modules() if isinstance(m, ImageScan)]
    pairs = model.config.orders
    assert set(scans) == set(pairs)
    assert all(one != other for one, other in pairwise(scans))


def test_ssm_every_leaves_the_other_blocks_without():
    levels = [{"width": 8, "encoder": 4, "parts": ("spatial", "channel"), "ssm_every": 2}]
    model = create_model("cu_mamba_tiny", levels=levels)
    has = [any(isinstance(m, ImageScan) for m in b.modules()) for b in model.latent.blocks]
    assert has == [False, True, False, True]


def test_the_small_variant_scans_in_every_second_unit_of_the_latent():
    scans = {
        n for n, m in create_model("cu_mamba_small").named_modules() if isinstance(m, ImageScan)
    }
    assert scans == {f"latent.blocks.{i}.blocks.0.scan" for i in (1, 3, 5)}


@pytest.mark.parametrize(
    "parts", [("joint",), ("gated", "channel"), ("feedforward",), ("feedforward", "spatial")]
)
def test_every_kind_of_part_restores(parts):
    levels = [{"width": 8, "encoder": 1, "parts": parts}]
    model = create_model("cu_mamba_tiny", levels=levels)
    assert model(torch.rand(1, 3, 4, 4)).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"levels": [{"width": 8, "encoder": 1, "decoder": 1}]}, "must end with the latent"),
        ({"orders": [[]]}, "at least one scan order"),
        ({"channel": {"delta": "local"}}, "channel.delta"),
        ({"channel": {"per_token": 5}}, "does not divide the width"),
        ({"channel": {"per_token": 2}, "unit_expand": 1.05}, "does not divide the width 17"),
        ({"channel": {"per_token": 0}}, "at least 1"),
        ({"d_state": 0}, "d_state"),
        ({"unit_expand": 0.01}, "no channels inside a unit"),
        ({"layer_scale": float("nan")}, "layer_scale"),
        (
            {
                "levels": [
                    {"width": 8, "encoder": 1, "decoder": 1},
                    {"width": 18, "encoder": 1, "parts": ["gated"]},
                ],
                "sampling": "convolution",
            },
            "divide by 4, not 18",
        ),
    ],
)
def test_configurations_that_make_no_sense_are_refused(overrides, message):
    with pytest.raises(InputError, match=message):
        create_model("cu_mamba_tiny", **overrides)


def test_joint_parts_need_gated_units():
    levels = [{"width": 8, "encoder": 1, "parts": ("joint",)}]
    with pytest.raises(InputError, match="joint"):
        create_model("cu_mamba_base", levels=levels)
