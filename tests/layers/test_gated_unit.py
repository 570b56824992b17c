import pytest
import torch

from unveil.layers.attention import GramAttention
from unveil.layers.channel_ssm import ChannelSSM, ChannelSSMOptions
from unveil.layers.gated_unit import GatedUnit
from unveil.layers.scan import ImageScan


def _scan():
    return ImageScan(12, 2, orders=("row", "column"))


UNITS = {
    "plain": {},
    "feed-forward": {"depthwise": False},
    "scan": {"scan": _scan()},
    "attention": {"mixer": GramAttention(12, 2)},
    "channel": {"mixer": ChannelSSM(12, ChannelSSMOptions(d_state=2))},
    "channel scan": {"mixer": ChannelSSM(12, ChannelSSMOptions(d_state=2, form="scan"))},
    "in turn": {"scan": _scan(), "mixer": ChannelSSM(12, ChannelSSMOptions(d_state=2))},
    "side by side": {"scan": _scan(), "mixer": GramAttention(12, 2), "parallel": True},
}


@pytest.mark.parametrize("name", UNITS)
def test_units_start_near_the_identity_and_every_parameter_learns(name):
    unit = GatedUnit(8, expand=1.5, layer_scale=0.01, **UNITS[name])
    x = torch.randn(2, 4, 6, 8)
    y = unit(x)
    assert y.shape == x.shape
    assert 0 < (y - x).abs().max() < 0.2
    y.square().sum().backward()
    assert [n for n, p in unit.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_branches_side_by_side_add_and_in_turn_compose():
    scan, mixer = _scan(), GramAttention(12, 2)
    both = GatedUnit(8, expand=1.5, scan=scan, mixer=mixer, parallel=True)
    turn = GatedUnit(8, expand=1.5, scan=scan, mixer=mixer)
    turn.load_state_dict({k: v for k, v in both.state_dict().items() if "project_scan" not in k})
    identity = torch.eye(12)
    x = torch.randn(1, 4, 4, 8)
    hidden = both.conv(both.expand(both.norm(x)))
    mixed = hidden @ mixer.folded(identity, hidden).transpose(1, 2)
    expected = both.project_scan(scan(hidden)) + both.project(mixed)
    torch.testing.assert_close(both(x), x + both.layer_scale * expected)
    hidden = scan(hidden)
    expected = turn.project(hidden @ mixer.folded(identity, hidden).transpose(1, 2))
    torch.testing.assert_close(turn(x), x + turn.layer_scale * expected)
