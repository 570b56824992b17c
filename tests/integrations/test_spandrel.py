"""Weights load through spandrel's own loader and give the bits they give here."""

import sys
import types

import pytest
import torch

from unveil import create_model
from unveil.models.checkpoint import save_checkpoint


def _anything(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


@pytest.fixture(scope="module")
def spandrel():
    """Spandrel with a stub in place of torchvision, which no network here needs."""
    names = ["torchvision", "torchvision.ops", "torchvision.transforms"]
    names += ["torchvision.transforms.functional", "torchvision.models", "torchvision.ops.misc"]
    stubs = [name for name in names if name not in sys.modules]
    for name in stubs:
        module = types.ModuleType(name)
        module.__path__ = []
        module.__getattr__ = _anything
        sys.modules[name] = module
    try:
        module = pytest.importorskip("spandrel")
        from unveil.integrations.spandrel import install

        install()
        install()
        yield module
    finally:
        for name in stubs:
            sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["cu_mamba_tiny", "mtair_tiny"])
def test_a_file_of_ours_loads_with_bit_equal_results(spandrel, tmp_path, name):
    network = create_model(name).eval()
    with torch.no_grad():
        network.head.weight *= 20
    path = save_checkpoint(network, tmp_path / "a.safetensors")
    loaded = spandrel.ModelLoader().load_from_file(path)
    assert loaded.architecture.id == {"cu_mamba_tiny": "CU-Mamba", "mtair_tiny": "MTAIR"}[name]
    assert (loaded.scale, loaded.input_channels, loaded.purpose) == (1, 3, "Restoration")
    assert loaded.size_requirements.multiple_of == network.size_multiple
    expected = "DISCOURAGED" if network.has_statistics else "SUPPORTED"
    assert loaded.tiling is getattr(spandrel.ModelTiling, expected)
    image = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        assert torch.equal(loaded(image.clone()), network(image).clamp(0, 1))
        assert loaded(torch.rand(1, 3, 13, 7)).shape == (1, 3, 13, 7)


def test_half_precision_stays_near(spandrel, tmp_path):
    network = create_model("cu_mamba_tiny").eval()
    path = save_checkpoint(network, tmp_path / "a.safetensors")
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = network(image).clamp(0, 1)
        for dtype in (torch.float16, torch.bfloat16):
            loaded = spandrel.ModelLoader().load_from_file(path)
            restored = loaded.to(dtype=dtype)(image.to(dtype))
            assert (restored.float() - expected).abs().max() < 0.02


def test_a_network_of_another_shape_loads_from_its_own_state(spandrel):
    network = create_model("cu_mamba_tiny", d_state=3).eval()
    bare = network.state_dict()
    with pytest.raises(Exception, match="no variant has these shapes"):
        spandrel.MAIN_REGISTRY.load(bare)
    ours = spandrel.MAIN_REGISTRY["CU-Mamba"].architecture
    from unveil.integrations.spandrel import EXTRA, _encoded

    first = ours.load({**bare, EXTRA: _encoded(network.config)})
    again = spandrel.ModelLoader().load_from_state_dict(first.model.state_dict())
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again(image.clone()), network(image).clamp(0, 1))


def test_no_other_architecture_takes_ours_nor_ours_another(spandrel):
    for name in ("cu_mamba_tiny", "mtair_tiny"):
        state = create_model(name).state_dict()
        takers = [s.architecture.id for s in spandrel.MAIN_REGISTRY if s.detect(state)]
        assert takers == [{"cu_mamba_tiny": "CU-Mamba", "mtair_tiny": "MTAIR"}[name]]
