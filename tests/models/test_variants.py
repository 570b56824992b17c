"""What holds for every variant."""

import pytest
import torch

from unveil import create_model, list_models
from unveil.errors import InputError
from unveil.models.registry import get_record

QUICK = ["cu_mamba_small", "cu_mamba_tiny", "mtair_small", "mtair_tiny"]
ABLATIONS = [
    ("cu_mamba_tiny", {"spatial_ssm": False}),
    ("cu_mamba_tiny", {"channel_ssm": False}),
    ("cu_mamba_tiny", {"spatial_ssm": False, "channel_ssm": False}),
    ("mtair_tiny", {"prompts": False}),
    ("mtair_tiny", {"branches": "spatial"}),
    ("mtair_tiny", {"branches": "channel"}),
    ("mtair_tiny", {"branches": "turns"}),
]
# The papers' blocks at a size for tests.
PAPER_CU_MAMBA = {
    "levels": [{"width": 8, "encoder": 1, "decoder": 1}, {"width": 16, "encoder": 1}],
    "d_state": 2,
}
PAPER_MTAIR = {
    "levels": [
        {"width": 8, "encoder": 1, "decoder": 1, "heads": 1, "prompt_dim": 4, "prompt_size": 8},
        {"width": 16, "encoder": 1, "dual": False, "prompt_dim": 4, "prompt_size": 4},
    ],
    "refinement": 1,
    "d_state": 2,
}
SWITCHES = [
    ("cu_mamba_base", {"spatial_ssm": False}),
    ("cu_mamba_base", {"channel_ssm": False}),
    ("cu_mamba_base", {"spatial_ssm": False, "channel_ssm": False}),
    ("cu_mamba_base", {"channel": {"form": "scan", "d_state": 2}}),
    ("mtair_base", {"prompts": False}),
    ("mtair_base", {"branches": "spatial"}),
    ("mtair_base", {"branches": "channel"}),
    ("mtair_base", {"branches": "turns"}),
    ("mtair_base", {"fusion": "concat"}),
]
SMALL_PAPER = [
    (name, (PAPER_CU_MAMBA if name == "cu_mamba_base" else PAPER_MTAIR) | switch)
    for name, switch in [("cu_mamba_base", {}), ("mtair_base", {}), *SWITCHES]
]
ALL = [(name, {}) for name in QUICK] + ABLATIONS + SMALL_PAPER


def _images(model, count=2, side=2):
    size = model.size_multiple * side * 2
    return torch.rand(count, 3, size, size + model.size_multiple)


@pytest.mark.parametrize(("name", "overrides"), ALL)
def test_a_gradient_reaches_every_parameter(name, overrides):
    model = create_model(name, **overrides)
    x = _images(model)
    restored = model(x)
    assert restored.shape == x.shape
    (restored * torch.randn_like(x)).sum().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize(("name", "overrides"), ALL)
def test_a_step_lowers_the_loss_on_its_batch(name, overrides):
    model = create_model(name, **overrides)
    x, target = _images(model), _images(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    losses = []
    for _ in range(2):
        loss = (model(x) - target).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[1] < losses[0]


@pytest.mark.parametrize("name", QUICK)
def test_networks_start_near_the_identity_but_not_at_it(name):
    model = create_model(name).eval()
    x = _images(model)
    with torch.no_grad():
        change = (model(x) - x).abs()
    assert 0 < change.mean() < 0.05


@pytest.mark.parametrize(("name", "overrides"), ALL)
def test_permuting_the_batch_permutes_the_output(name, overrides):
    model = create_model(name, **overrides).eval()
    x = _images(model, count=3)
    order = [2, 0, 1]
    with torch.no_grad():
        torch.testing.assert_close(model(x)[order], model(x[order]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("value", [0.0, 1.0, 1e4])
def test_a_constant_image_stays_finite_forward_and_backward(name, value):
    model = create_model(name)
    restored = model(torch.full_like(_images(model), value))
    restored.sum().backward()
    assert restored.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", QUICK)
def test_forward_is_the_image_plus_the_residual(name):
    model = create_model(name).eval()
    x = _images(model, count=2)
    with torch.no_grad():
        assert torch.equal(model(x), x + model.residual(x))


@pytest.mark.parametrize(("name", "overrides"), ALL)
def test_a_pass_with_the_images_own_context_equals_a_pass_without(name, overrides):
    model = create_model(name, **overrides).eval()
    x = _images(model, count=1)
    with torch.no_grad():
        torch.testing.assert_close(model(x, model.collect_statistics(x)), model(x))


@pytest.mark.parametrize("name", QUICK)
def test_with_a_context_a_tile_does_not_see_its_own_statistics(name):
    overrides = {"channel_ssm": True} if name == "cu_mamba_small" else {}
    model = create_model(name, **overrides).eval()
    x = _images(model, count=2)
    context = model.collect_statistics(x[:1])
    with torch.no_grad():
        alone, together = model(x[1:], context), model(x, context)
        assert not torch.equal(alone, model(x[1:]))
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", QUICK)
def test_a_context_averages_over_equal_samples(name):
    overrides = {"channel_ssm": True} if name == "cu_mamba_small" else {}
    model = create_model(name, **overrides).eval()
    x = _images(model, count=1)
    one, twice = model.collect_statistics(x), model.collect_statistics(x.repeat(2, 1, 1, 1))
    assert one.statistics
    for key, value in one.statistics.items():
        torch.testing.assert_close(twice.statistics[key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", sorted(list_models()))
def test_tiles_are_of_sizes_that_the_network_takes(name):
    with torch.device("meta"):
        model = create_model(name)
    assert get_record(name).tile % model.size_multiple == 0


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 3, 8, 9), "multiples of"), ((1, 1, 8, 8), "RGB"), ((3, 8, 8), "RGB")],
)
def test_shapes_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(InputError, match=message):
        create_model("cu_mamba_tiny")(torch.zeros(shape))


def test_integers_are_refused():
    with pytest.raises(InputError, match="expected floats"):
        create_model("cu_mamba_tiny")(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_parameter_groups_hold_every_parameter_once_and_never_decay_scales():
    model = create_model("cu_mamba_tiny")
    groups = model.parameter_groups(weight_decay=0.1, ssm_learning_rate=0.5)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    where = {id(p): group for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        group = where[id(parameter)]
        if name.endswith(("A_log", "D", "dt_bias", "layer_scale", "embedding", "norm.weight")):
            assert group["weight_decay"] == 0.0, name
        if name.endswith("A_log"):
            assert group["lr_scale"] == 0.5
        if name.endswith("expand.weight"):
            assert group["weight_decay"] == 0.1
            assert group["lr_scale"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_one_small_image_can_be_learned_by_heart(name):
    model = create_model(name)
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(1, 3, 8, 8, generator=generator)
    clean = torch.nn.functional.interpolate(clean, scale_factor=4, mode="bicubic")
    degraded = clean + 0.2 * torch.randn(clean.shape, generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0)
    losses = []
    for _ in range(400):
        loss = (model(degraded) - clean).square().mean()
        losses.append(loss.item())
        if losses[-1] < losses[0] / 10:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss fell from {losses[0]:.4f} only to {losses[-1]:.4f}")
