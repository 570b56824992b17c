from dataclasses import replace

import numpy as np
import pytest
import torch

from unveil import create_model
from unveil.inference import bottleneck
from unveil.inference.bottleneck import cut, encoded, refined
from unveil.inference.tiles import Grid
from unveil.inference.tiling import TiledInference, Tiling

_TILES = Tiling(whole_megapixels=0.0, tile=128, overlap=32, whole_latent=True)


def _reaching() -> torch.nn.Module:
    """Make a network whose only long reach is the latent's, and is strong."""
    torch.manual_seed(0)
    levels = [
        {"width": 16, "encoder": 1, "decoder": 1, "parts": ["gated"]},
        {"width": 24, "encoder": 2, "parts": ["joint"]},
    ]
    network = create_model(
        "cu_mamba_tiny", levels=levels, channel_ssm=False, scan_norm=True, layer_scale=1.0
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("head.weight"):
                parameter.mul_(10)
    return network.eval()


def _restored(pixels: np.ndarray, tiling: Tiling, **options: bool) -> np.ndarray:
    out = np.empty_like(pixels)
    TiledInference(_reaching(), torch.device("cpu"), tiling, **options).restore(pixels, out)
    return out


def _pixels(height: int, width: int) -> np.ndarray:
    # Brightness that drifts: a tile alone sees another picture than the whole image is.
    drift = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    noise = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    return np.asarray(0.7 * drift + 0.3 * noise, np.float32)


@pytest.mark.parametrize("size", [(200, 320), (150, 311), (65, 401)])
@pytest.mark.parametrize("ensemble", [False, True])
def test_tiles_with_the_whole_latent_are_as_one(size: tuple[int, int], ensemble: bool) -> None:
    pixels = _pixels(*size)
    whole = _restored(pixels, Tiling(), ensemble=ensemble)
    tiled = _restored(pixels, _TILES, ensemble=ensemble)
    apart = _restored(pixels, replace(_TILES, whole_latent=False), ensemble=ensemble)
    assert np.abs(apart - whole).max() > 5e-3
    assert np.abs(tiled - whole).max() < 0.02 * np.abs(apart - whole).max()


def test_a_latent_refined_in_pieces_meets_smoothly(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = _pixels(150, 620)
    whole = _restored(pixels, Tiling())
    apart = _restored(pixels, replace(_TILES, whole_latent=False))
    monkeypatch.setattr(bottleneck, "_OVERLAP", 16)
    monkeypatch.setattr(bottleneck, "_POSITIONS", 38 * 64)  # of 38 × 155
    monkeypatch.setattr(bottleneck, "_OF_TILE", 128)
    tiled = _restored(pixels, _TILES)
    assert 0 < np.abs(tiled - whole).mean() < 0.5 * np.abs(apart - whole).mean()
    # Three pieces of 63 of the 155 positions, of 4 pixels, begin at every 47th and share 16.
    steps = np.abs(np.diff(tiled - whole, axis=1)).mean((0, 2))
    seams = np.concatenate([steps[188 * i : 188 * i + 64] for i in (1, 2)])
    assert seams.max() < 1.5 * np.percentile(steps, 99)


@pytest.mark.parametrize("ensemble", [False, True])
def test_progress_counts_the_latents_tiles_too(ensemble: bool) -> None:
    pixels, seen = _pixels(200, 320), []
    engine = TiledInference(_reaching(), torch.device("cpu"), _TILES, ensemble=ensemble)
    engine.restore(pixels, np.empty_like(pixels), seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)
    tiles = 2 * 3
    assert len({round(share, 6) for share in seen}) >= tiles * (9 if ensemble else 2)


@pytest.mark.parametrize("size", [(250, 500), (375, 500), (1500, 2100), (60, 6000), (3, 10**6)])
@pytest.mark.parametrize("tile", [64, 512, 1024])
def test_pieces_cover_all_positions_and_fit_into_memory(size: tuple[int, int], tile: int) -> None:
    pieces = bottleneck.pieces_of(size, Grid(tile, 16))
    most = max(bottleneck._POSITIONS * min(tile / bottleneck._OF_TILE, 1) ** 2, 128**2)
    assert (pieces is None) == (size[0] * size[1] <= most)
    if pieces is None:
        return
    for length, grid in zip(size, (pieces.rows, pieces.columns), strict=True):
        total = np.zeros(length)
        for start, end in grid.spans(length):
            total[start:end] += grid.weights((start, end), length)
        np.testing.assert_allclose(total, 1, atol=1e-6)
    areas = [(b - t) * (r - left) for (t, b), (left, r) in pieces.spans(*size)]
    assert max(areas) <= most
    assert sum(areas) <= 1.5 * size[0] * size[1] or tile == 64


@pytest.mark.parametrize("side", [40, 37])
def test_every_position_is_encoded_once_and_cut_where_it_lies(side: int) -> None:
    pixels = np.random.default_rng(0).random((side, side + 9, 3), dtype=np.float32)
    grid = Grid(16, 8)

    def encode(rows: slice, columns: slice) -> torch.Tensor:
        tile = torch.from_numpy(pixels[rows, columns]).permute(2, 0, 1)[None]
        padded = torch.nn.functional.pad(
            tile, (0, -tile.shape[-1] % 4, 0, -tile.shape[-2] % 4), "replicate"
        )
        return padded[:, :, ::4, ::4].movedim(1, -1)

    features = encoded(pixels.shape[:2], grid, 4, encode)
    made = refined(features, grid, lambda rows, columns: 2 * cut(features, rows, columns, 1))
    np.testing.assert_allclose(made, 2 * pixels[::4, ::4], rtol=1e-6)
    rows, columns = grid.spans(side)[-1], grid.spans(side + 9)[-1]
    part = cut(made, rows, columns, 4)
    expected = 2 * pixels[slice(*rows), slice(*columns)][::4, ::4]
    np.testing.assert_allclose(part[0], expected, rtol=1e-6)


def test_the_record_of_the_all_in_one_network_asks_for_it() -> None:
    from unveil.inference.loading import load

    assert load("mtair_small").tiling.whole_latent
    assert not load("cu_mamba_small").tiling.whole_latent
