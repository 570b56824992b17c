from collections.abc import Iterator

import numpy as np
import pytest
import torch

from unveil import create_model
from unveil.inference import once, statistics
from unveil.inference.once import SkipStore
from unveil.inference.tiling import TiledInference, Tiling
from unveil.models.base import RestorationModel

_TILES = Tiling(whole_megapixels=0.0, tile=128, overlap=32, whole_latent=True)


@pytest.fixture(scope="module")
def network() -> RestorationModel:
    torch.manual_seed(0)
    made = create_model("mtair_tiny", layer_scale=1.0).eval()
    with torch.no_grad():
        made.head.weight.mul_(10)
    return made


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(statistics, "SIDE", 96)
    monkeypatch.setattr(statistics, "MOST_PIXELS", 4 * 96**2)
    return


def _pixels(height: int, width: int) -> np.ndarray:
    drift = np.linspace(0.3, 0.7, width, dtype=np.float32)[None, :, None]
    noise = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    return np.asarray(0.5 * drift + 0.5 * noise, np.float32)


def _change(network: RestorationModel, pixels: np.ndarray, tiling: Tiling) -> np.ndarray:
    out = np.empty_like(pixels)
    TiledInference(network, torch.device("cpu"), tiling).change(pixels, out)
    return out


@pytest.mark.parametrize("size", [(250, 300), (131, 403), (97, 205)])
def test_tiles_that_share_statistics_are_nearly_as_one(
    network: RestorationModel, size: tuple[int, int]
) -> None:
    pixels = _pixels(*size)
    whole = _change(network, pixels, Tiling())
    tiled = _change(network, pixels, _TILES)
    assert 0 < np.linalg.norm(tiled - whole) < 0.02 * np.linalg.norm(whole)


def test_every_tile_passes_encoder_and_decoder_once(
    network: RestorationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = {"encode": 0, "decode": 0}

    def count(name: str, of: int) -> None:
        original = getattr(network, name)

        def counted(*arguments: object) -> object:
            passed[name] += len(arguments[of])  # type: ignore[arg-type]
            return original(*arguments)

        monkeypatch.setattr(network, name, counted)

    count("encode", 0), count("decode", 0)
    _change(network, _pixels(250, 300), _TILES)
    assert passed == {"encode": 3 * 3, "decode": 3 * 3}


def test_tiles_encoded_again_for_lack_of_room_come_out_the_same(
    network: RestorationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = _pixels(150, 300)
    expected = _change(network, pixels, _TILES)
    monkeypatch.setattr(once, "_SHARE_OF_ROOM", 0.0)
    np.testing.assert_array_equal(_change(network, pixels, _TILES), expected)


@pytest.mark.parametrize("size", [1.0, 3e5])
def test_skips_are_kept_to_half_precision_whatever_their_size(size: float) -> None:
    skips = [size * torch.randn(1, 4, 6, 8), size * torch.randn(1, 2, 3, 5)]
    store = SkipStore(3, [skip.shape for skip in skips])
    store.put((0, 8), skips)
    assert store.get((8, 0)) is None
    got = store.get((0, 8))
    assert got is not None
    for kept, skip in zip(got, skips, strict=True):
        assert (kept - skip).norm() < 4e-4 * skip.norm()


def test_a_store_without_room_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    skip = torch.randn(1, 64, 64, 8)
    monkeypatch.setattr(once, "_room", lambda: 4 * skip.numel())
    store = SkipStore(2, [skip.shape])
    store.put((0, 0), [skip])
    store.put((0, 64), [skip])
    assert store.get((0, 0)) is not None
    assert store.get((0, 64)) is None
