from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from unveil import create_model
from unveil.inference import bottleneck, tile_store
from unveil.inference.padding import pad_to_multiple
from unveil.inference.sample_conversion import to_network
from unveil.inference.single_pass import SinglePass
from unveil.inference.tile_store import TileStore, rounded
from unveil.inference.tiles import Grid
from unveil.inference.tiling import TiledInference, Tiling
from unveil.layers.gated_unit import GatedUnit
from unveil.models.base import RestorationModel

_TILES = Tiling(whole_megapixels=0.0, tile=128, overlap=32, whole_latent=True)


@pytest.fixture(scope="module")
def network() -> RestorationModel:
    torch.manual_seed(0)
    made = create_model("mtair_tiny", layer_scale=1.0).eval()
    with torch.no_grad():
        made.head.weight.mul_(10)
    return made


def _pixels(height: int, width: int) -> np.ndarray:
    drift = np.linspace(0.3, 0.7, width, dtype=np.float32)[None, :, None]
    noise = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    return np.asarray(0.5 * drift + 0.5 * noise, np.float32)


def _change(
    network: RestorationModel,
    pixels: np.ndarray,
    tiling: Tiling,
    conditioning: dict[str, torch.Tensor] | None = None,
) -> np.ndarray:
    out = np.empty_like(pixels)
    engine = TiledInference(
        network, torch.device("cpu"), tiling, forced=True, conditioning=conditioning or {}
    )
    engine.change(pixels, out)
    return out


def _some_statistics(network: RestorationModel) -> dict[str, torch.Tensor]:
    own = network.collect_statistics(torch.rand(1, 3, 64, 64)).statistics
    return {name: own[name] for name in ("encoder.0.blocks.0.mixer", "prompts.0.channel")}


@pytest.mark.parametrize("size", [(250, 300), (131, 403), (97, 205), (20, 400), (1, 300)])
@pytest.mark.parametrize("given", [False, True])
def test_tiles_are_as_the_whole_image(
    network: RestorationModel, size: tuple[int, int], given: bool
) -> None:
    pixels = _pixels(*size)
    # Dark at one side: tiles that were statistics of their own, or of some, would differ.
    pixels[:, : size[1] // 4] *= 0.2
    conditioning = _some_statistics(network) if given else {}
    whole = _change(network, pixels, Tiling(), conditioning)
    tiled = _change(network, pixels, _TILES, conditioning)
    apart = _change(network, pixels, replace(_TILES, whole_latent=False), conditioning)
    distance = np.linalg.norm(tiled - whole)
    assert 0 < distance < 2e-3 * np.linalg.norm(whole)
    assert distance < 0.2 * np.linalg.norm(apart - whole)


def test_statistics_that_tiles_add_up_are_the_whole_images(network: RestorationModel) -> None:
    pixels = _pixels(131, 403)
    image = pad_to_multiple(to_network(pixels), network.size_multiple)
    once = SinglePass(network, pixels, Grid(128, 32), {}, lambda: None)
    once.prepare()
    own = network.collect_statistics(image).statistics
    found = once.statistics.statistics
    assert set(found) == {name for name in own if not name.startswith(("latent", "prompts.1"))}
    for name, value in found.items():
        assert (value - own[name]).norm() < 2e-3 * own[name].norm(), name


def test_a_latent_in_pieces_has_the_statistics_of_the_whole(
    network: RestorationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = _pixels(131, 403)
    whole = _change(network, pixels, _TILES)
    monkeypatch.setattr(bottleneck, "_OVERLAP", 16)
    monkeypatch.setattr(bottleneck, "_POSITIONS", 33 * 48)
    monkeypatch.setattr(bottleneck, "_OF_TILE", 128)
    pieces = _change(network, pixels, _TILES)
    assert 0 < np.linalg.norm(pieces - whole) < 0.02 * np.linalg.norm(whole)


def test_every_unit_sees_every_tile_once(
    network: RestorationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, GatedUnit):
            made = module._gated

            def counted(*given: object, name: str = name, made: Any = made) -> torch.Tensor:
                passed.append(name)
                return cast("torch.Tensor", made(*given))

            monkeypatch.setattr(module, "_gated", counted)
    _change(network, _pixels(250, 300), _TILES)
    counts = {name: passed.count(name) for name in passed}
    assert {n for name, n in counts.items() if not name.startswith("latent")} == {3 * 3}


@pytest.mark.parametrize("share", [0.0, 1e-4])
def test_tiles_computed_again_for_lack_of_room_come_out_the_same(
    network: RestorationModel, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(tile_store, "_room", lambda: 2**31)
    pixels = _pixels(150, 300)
    expected = _change(network, pixels, _TILES)
    monkeypatch.setattr(tile_store, "_SHARE_OF_ROOM", share)
    np.testing.assert_array_equal(_change(network, pixels, _TILES), expected)


@pytest.mark.parametrize("size", [1.0, 3e5])
@pytest.mark.parametrize("memory", [0, 300, 2**27])
def test_features_are_kept_to_half_precision_whatever_their_size_and_wherever(
    size: float, memory: int
) -> None:
    store = TileStore(3, memory)
    tiles = {
        (i, 8): [size * torch.randn(1, 4, 6, n), size * torch.randn(1, 2, 3, 5)]
        for i, n in ((0, 8), (4, 7), (8, 9))
    }
    for corner, tensors in tiles.items():
        assert store.put(corner, tensors)
    assert store.get((8, 0)) is None
    for corner, tensors in tiles.items():
        got = store.get(corner)
        assert got is not None
        for kept, tensor in zip(got, tensors, strict=True):
            assert (kept - tensor).norm() < 4e-4 * tensor.norm()
            torch.testing.assert_close(kept, rounded(tensor), rtol=0, atol=0)
    assert store.put((0, 8), [torch.ones(2)])
    assert torch.equal((store.get((0, 8)) or [])[0], torch.ones(2))


def test_a_store_without_room_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    skip = torch.randn(1, 64, 64, 8)
    monkeypatch.setattr(tile_store, "_room", lambda: 4 * skip.numel())
    store = TileStore(2, 2**20)
    assert store.put((0, 0), [skip])
    assert not store.put((0, 64), [skip])
    assert store.get((0, 64)) is None
