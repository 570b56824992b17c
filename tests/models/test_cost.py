import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from unveil import create_model
from unveil.models.cost import count_operations
from unveil.ops import dispatch

ONE_LEVEL = [{"width": 8, "encoder": 1, "parts": ("spatial",)}]


def test_counts_agree_with_a_count_by_hand():
    model = create_model("cu_mamba_tiny", levels=ONE_LEVEL, d_state=4)
    h = w = 16
    tokens, c, k, n, r = (h // 2) * (w // 2), 8, 2, 4, 1
    per_token = 9 * 12 * c  # stem
    per_token += c * 2 * c + 9 * 2 * c  # expand, depth-wise
    per_token += c * k * (r + 2 * n) + k * c * r  # Δ, B, C
    per_token += c * c + 9 * c * 12  # project, head
    cost = count_operations(model, h, w)
    assert cost.multiply_adds == tokens * per_token
    assert cost.scan_updates == tokens * c * k * n
    assert cost.scan_updates_per_pixel == cost.scan_updates / (h * w)


def test_the_channel_scan_counts_pixels_times_channels_times_states():
    levels = [{"width": 8, "encoder": 1, "parts": ("channel",)}]
    channel = {"form": "scan", "directions": 2, "per_token": 2, "d_state": 4}
    model = create_model("cu_mamba_tiny", levels=levels, channel=channel)
    assert count_operations(model, 16, 16).scan_updates == 64 * 8 * 4 * 2


# What a token of 8 features takes in the papers' blocks, beside the head and the stem.
MAMBA = 8 * 32 + 4 * 16 + 16 * (1 + 2 * 4) + 16 + 16 * 8  # in, causal, Δ B C, Δ, out
SS2D = 8 * 32 + 9 * 16 + 4 * 16 * (1 + 2 * 4) + 4 * 16 + 16 * 8
ATTENTION = 8 * 24 + 9 * 24 + 8 * 4 + 8 * 8  # q k v, depth-wise, q·kᵀ in two heads, out
FFN = 8 * 42 + 9 * 42 + 21 * 8
CHANNEL = 8 * 16 + 9 * 16 + 8 * 8 + 8 * 8 + 8 * 8 + 2 * 9 * 8  # along, M, out, smoothing
PROMPT = {"prompt_dim": 4, "prompt_size": 4}


@pytest.mark.parametrize(
    ("name", "level", "per_token", "orders"),
    [
        ("cu_mamba_base", {"parts": ("spatial",)}, 8 * 8 + 9 * 8 + MAMBA, 1),
        ("cu_mamba_base", {"parts": ("channel",)}, CHANNEL, 0),
        ("mtair_base", {"heads": 2, **PROMPT}, ATTENTION + SS2D + FFN, 4),
        ("mtair_base", {"heads": 2, "dual": False, **PROMPT}, ATTENTION + FFN, 0),
    ],
)
def test_the_papers_blocks_cost_what_they_cost_by_hand(name, level, per_token, orders):
    extra = {"refinement": 0, "prompts": False} if name == "mtair_base" else {}
    model = create_model(name, levels=[{"width": 8, "encoder": 1} | level], d_state=4, **extra)
    one, two = count_operations(model, 16, 16), count_operations(model, 16, 32)
    # What is done once per image falls out of the difference.
    per_token += 2 * 9 * 3 * 8
    assert two.multiply_adds - one.multiply_adds == 256 * per_token
    assert one.scan_updates == 256 * 16 * 4 * orders


def test_counting_agrees_with_a_real_pass_and_changes_nothing(monkeypatch):
    # The fused kernels are no PyTorch operations.
    monkeypatch.setattr(dispatch, "library", lambda: None)
    model = create_model("mtair_tiny", branches="channel")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    counted = count_operations(model, 32, 32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
    assert counter.get_total_flops() // 2 == counted.multiply_adds
    assert counted.scan_updates == 0
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


def test_cost_grows_with_pixels_and_not_faster():
    model = create_model("mtair_tiny")
    small, large = count_operations(model, 64, 64), count_operations(model, 128, 128)
    assert large.scan_updates == 4 * small.scan_updates
    assert 3.5 < large.multiply_adds / small.multiply_adds <= 4
