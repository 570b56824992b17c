import torch
from torch.utils.flop_counter import FlopCounterMode

from unveil import create_model
from unveil.models.cost import count_operations

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


def test_matrix_products_per_image_are_counted():
    levels = [{"width": 8, "encoder": 1, "parts": ("attention",)}]
    attention = create_model("cu_mamba_tiny", levels=levels)
    plain = create_model("cu_mamba_tiny", levels=[levels[0] | {"parts": ("gated",)}])
    difference = count_operations(attention).multiply_adds - count_operations(plain).multiply_adds
    assert difference == 8 * 8  # the factors, once per image


def test_counting_agrees_with_a_real_pass_and_changes_nothing():
    model = create_model("mtair_tiny", branches="channel")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    counted = count_operations(model, 32, 32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
    # The fused kernels are no PyTorch operations; what remains is what was counted without them.
    assert 0 < counter.get_total_flops() // 2 <= counted.multiply_adds
    assert counted.scan_updates == 0
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


def test_cost_grows_with_pixels_and_not_faster():
    model = create_model("mtair_tiny")
    small, large = count_operations(model, 64, 64), count_operations(model, 128, 128)
    assert large.scan_updates == 4 * small.scan_updates
    assert 3.5 < large.multiply_adds / small.multiply_adds <= 4
