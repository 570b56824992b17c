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
    monkeypatch.setattr(bottleneck, "_SIDE", 64)  # of 155 positions
    monkeypatch.setattr(bottleneck, "_OF_TILE", 128)
    tiled = _restored(pixels, _TILES)
    assert 0 < np.abs(tiled - whole).mean() < 0.5 * np.abs(apart - whole).mean()
    # Pieces start at every 48th position, of 4 pixels, and share 16.
    steps = np.abs(np.diff(tiled - whole, axis=1)).mean((0, 2))
    seams = np.concatenate([steps[192 * i : 192 * i + 64] for i in (1, 2)])
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
