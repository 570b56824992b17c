"""The real networks in tiles: statistics from many samples, seams, and no harm in quality."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unveil import create_model
from unveil.degradations import parse
from unveil.imaging import load_rgb
from unveil.inference.loading import load
from unveil.inference.tiling import TiledInference, Tiling
from unveil.metrics import psnr
from unveil.models.checkpoint import bundled_weights

_CPU = torch.device("cpu")


def _restored(model: nn.Module, pixels: np.ndarray, tiling: Tiling) -> np.ndarray:
    out = np.empty_like(pixels)
    TiledInference(model, _CPU, tiling).restore(pixels, out)
    return out


@pytest.mark.parametrize("model_id", ["cu_mamba_tiny", "mtair_tiny"])
@pytest.mark.parametrize("size", [(150, 210), (65, 300), (129, 3)])
def test_tiles_of_a_network_share_statistics_of_many_samples(
    model_id: str, size: tuple[int, int]
) -> None:
    model = create_model(model_id).eval()
    pixels = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    tiled = _restored(model, pixels, Tiling(whole_megapixels=0.02, tile=64, overlap=16))
    assert tiled.shape == pixels.shape
    assert np.isfinite(tiled).all()
    assert not np.array_equal(tiled, pixels)


@pytest.mark.parametrize("model_id", ["cu_mamba_tiny", "mtair_tiny"])
def test_a_task_can_be_steered_whole_and_in_tiles(model_id: str) -> None:
    model = create_model(model_id).eval()
    pixels = np.random.default_rng(0).random((100, 90, 3), dtype=np.float32)
    plain = TiledInference(model, _CPU).collect_statistics(pixels)
    assert plain.statistics
    name, value = next(iter(plain.statistics.items()))
    for tiling in (Tiling(), Tiling(0.0, 64, 16)):
        out = np.empty_like(pixels)
        TiledInference(model, _CPU, tiling, conditioning={name: value + 3}).restore(pixels, out)
        assert not np.array_equal(out, _restored(model, pixels, tiling))


def _noisy(clean: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    return parse("noise:sigma_255=25")(clean, rng).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("model_id", ["cu_mamba_small", "mtair_small"])
def test_trained_networks_lose_nothing_in_tiles(model_id: str, unveil_data: Path) -> None:
    if model_id not in bundled_weights():
        pytest.skip(f"no weights are bundled for {model_id}")
    paths = sorted((unveil_data / "kodak24").glob("*.png"))[:2]
    loaded = load(model_id)
    network, tiling = loaded.network.eval(), loaded.tiling
    side = 512
    tiles = replace(tiling, whole_megapixels=0.25, tile=side)
    for path in paths:
        clean = load_rgb(path).astype(np.float32) / 255
        degraded = _noisy(clean)
        whole = _restored(network, degraded, Tiling(whole_megapixels=100))
        tiled = _restored(network, degraded, tiles)
        scores = [psnr(x, clean, data_range=1) for x in (whole, tiled)]
        assert scores[1] >= scores[0] - 0.05, scores
        assert _seam(tiled - whole, side - tiling.overlap // 2, side - tiling.overlap) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "degradation", ["rain:light", "rain:heavy", "haze:light", "haze:heavy", "identity"]
)
def test_the_all_in_one_network_loses_nothing_in_tiles(degradation: str, unveil_data: Path) -> None:
    if "mtair_small" not in bundled_weights():
        pytest.skip("no weights are bundled for mtair_small")
    loaded, lost = load("mtair_small"), []
    network, tiling = loaded.network.eval(), loaded.tiling
    tiles = replace(tiling, whole_megapixels=0.25)
    for seed, path in enumerate(sorted((unveil_data / "kodak24").glob("*.png"))[::6]):
        clean = load_rgb(path).astype(np.float32) / 255
        rng = np.random.default_rng(seed)
        degraded = parse(degradation)(clean, rng).astype(np.float32)
        whole = _restored(network, degraded, Tiling(whole_megapixels=100))
        tiled = _restored(network, degraded, tiles)
        lost.append(psnr(whole, clean, data_range=1) - psnr(tiled, clean, data_range=1))
    # Statistics are told from windows: a single photograph may gain or lose a few tenths.
    # Of clean photographs, which come out at 50 dB, so may the mean.
    assert np.mean(lost) <= (0.1 if degradation == "identity" else 0.05), lost
    assert max(lost) <= 0.5, lost


def _seam(difference: np.ndarray, first: int, stride: int) -> float:
    """Return the steepest step between columns where tiles meet, over the image's usual step."""
    steps = np.abs(np.diff(difference, axis=1)).mean((0, 2))
    seams = np.arange(first, len(steps), stride)
    near = np.concatenate([steps[s - 2 : s + 2] for s in seams])
    # Steps below a tenth of a level of 8 bits show nowhere.
    return float(near.max() / max(np.percentile(steps, 99), 0.1 / 255))
