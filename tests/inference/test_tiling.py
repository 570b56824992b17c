"""Any size, whole or in tiles, comes out the same, and short memory never spoils a pixel."""

import logging

import numpy as np
import pytest
import torch
from tests.inference.conftest import Blur, Darker, Hungry, Identity, MinusMean, MinusSpread
from torch import nn

import unveil
from unveil.errors import InputError
from unveil.imaging import scratch
from unveil.imaging.scratch import allocate
from unveil.inference import grid_choice, network_pass
from unveil.inference.memory import bytes_per_pixel, is_out_of_memory
from unveil.inference.padding import pad_to_multiple
from unveil.inference.statistics import spread_crops
from unveil.inference.strength import Strength
from unveil.inference.tiles import fitted_grid
from unveil.inference.tiling import TiledInference, Tiling
from unveil.layers.statistics import GlobalStatistics

_CPU = torch.device("cpu")
_SMALL_TILES = Tiling(whole_megapixels=0.0, tile=64, overlap=16)


def _restored(model: nn.Module, pixels: np.ndarray, **options: object) -> np.ndarray:
    out = np.full_like(pixels, 77)
    TiledInference(model.eval(), _CPU, **options).restore(pixels, out)
    return out


def _pixels(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    rng = np.random.default_rng(3)
    if dtype.startswith("float"):
        return rng.normal(0.4, 0.5, shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("tiling", [Tiling(), _SMALL_TILES])
def test_identity_changes_no_bit(dtype: str, channels: int, tiling: Tiling) -> None:
    pixels = _pixels((150, 201, channels), dtype)
    np.testing.assert_array_equal(_restored(Identity(), pixels, tiling=tiling), pixels)


def test_floats_beyond_the_range_survive() -> None:
    pixels = np.array([[[np.nan, np.inf, -np.inf], [1e6, -3.0, 0.5]]], np.float32)
    np.testing.assert_array_equal(_restored(Identity(), pixels), pixels)
    darker = _restored(Darker(), pixels)
    np.testing.assert_allclose(darker[0, 1], [1e6 - 0.1, -3.1, 0.4], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_are_rounded_and_saturate(dtype: str) -> None:
    top = np.iinfo(dtype).max
    pixels = np.array([[[0, top // 2, top]]], dtype)
    step = round(0.1 * top)
    wanted = [0, top // 2 - step, top - step]
    assert np.abs(_restored(Darker(), pixels)[0, 0].astype(int) - wanted).max() <= 1
    half = _restored(Darker(), pixels, strength=Strength(0.5, 0.5))[0, 0].astype(int)
    assert np.abs(half - [0, top // 2 - step / 2, top - step / 2]).max() <= 1


@pytest.mark.parametrize("height", [1, 2, 3, 7, 63, 64, 65, 130])
@pytest.mark.parametrize("width", [1, 5, 129])
def test_any_size_comes_back_whole_and_tiled(height: int, width: int) -> None:
    pixels = _pixels((height, width, 3))
    whole = _restored(Darker(), pixels)
    np.testing.assert_allclose(whole, pixels - 0.1, atol=1e-6)
    np.testing.assert_allclose(_restored(Darker(), pixels, tiling=_SMALL_TILES), whole, atol=1e-6)


def test_tiles_equal_the_whole_where_they_share_enough() -> None:
    pixels = _pixels((300, 211, 3))
    whole = _restored(Blur(), pixels)
    tiled = _restored(Blur(), pixels, tiling=_SMALL_TILES)
    np.testing.assert_allclose(tiled, whole, atol=2e-6)


def test_all_tiles_share_the_statistics_of_the_image() -> None:
    pixels = np.linspace(0, 1, 256 * 320 * 3, dtype=np.float32).reshape(256, 320, 3)
    tiled = _restored(MinusMean(), pixels, tiling=_SMALL_TILES)
    change = tiled - pixels
    np.testing.assert_allclose(change, np.broadcast_to(change[0, 0], change.shape), atol=1e-6)
    np.testing.assert_allclose(change[0, 0], -pixels.mean((0, 1)), atol=0.01)


def test_a_network_without_statistics_sees_every_tile_once_and_nothing_else() -> None:
    network = unveil.create_model("cu_mamba_tiny", channel_ssm=False)
    seen: list[int] = []
    network.latent.register_forward_hook(lambda *_: seen.append(1))
    _restored(network, _pixels((130, 200, 3)), tiling=_SMALL_TILES)
    grid = fitted_grid(_SMALL_TILES.tile, _SMALL_TILES.overlap, network.size_multiple)
    assert len(seen) == len(grid.spans(130)) * len(grid.spans(200))


class _Counting(MinusMean):
    """Notes how many pixels pass through it at once; has no memory for more than `most`."""

    def __init__(self, most: int = 2**62) -> None:
        super().__init__()
        self.most, self.seen = most, list[int]()

    def forward(self, x: torch.Tensor, context: GlobalStatistics | None = None) -> torch.Tensor:
        pixels = x.shape[0] * x.shape[2] * x.shape[3]
        if pixels > self.most:
            raise torch.OutOfMemoryError("no room")
        self.seen.append(pixels)
        return super().forward(x, context)


def test_statistics_are_gathered_from_no_more_pixels_at_once_than_four_tiles() -> None:
    model, pixels = _Counting(), _pixels((130, 250, 3))
    tiling = Tiling(whole_megapixels=0.0082, tile=64, overlap=16, window=32)
    change = _restored(model, pixels, tiling=tiling) - pixels
    assert 64**2 < max(model.seen) <= 4 * 64**2
    assert sum(model.seen) > pixels[..., 0].size  # all windows, beside the tiles
    np.testing.assert_allclose(change[0, 0], -pixels.mean((0, 1)), atol=0.02)


def _act(engine: TiledInference, act: str, pixels: np.ndarray) -> None:
    engine.collect_statistics(pixels) if act == "describe" else engine.restore(
        pixels, pixels.copy()
    )


@pytest.mark.parametrize("act", ["restore", "describe"])
def test_where_the_whole_is_known_to_be_too_large_no_pass_takes_more_than_there_is_room_for(
    act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _Counting()
    engine = TiledInference(model, _CPU, Tiling(1.0, 64, 16, window=32))
    monkeypatch.setattr(grid_choice, "bytes_per_pixel", lambda *_: 1.0)
    monkeypatch.setattr(grid_choice, "available_bytes", lambda _: 4 * 64**2)
    _act(engine, act, _pixels((300, 300, 3)))
    assert max(model.seen) <= 4 * 64**2


@pytest.mark.parametrize("act", ["restore", "describe"])
def test_where_memory_runs_out_statistics_are_gathered_from_less_at_once(act: str) -> None:
    model = _Counting(most=130**2)
    _act(TiledInference(model, _CPU, Tiling(1.0, 512, 16)), act, _pixels((300, 300, 3)))
    assert 0 < max(model.seen) <= 130**2


def test_an_image_is_described_alike_however_many_windows_are_seen_at_once() -> None:
    pixels = _pixels((1100, 1000, 3))
    alike = [
        TiledInference(MinusSpread(), _CPU, Tiling(whole, tile, 16))
        .collect_statistics(pixels)
        .statistics["mean"]
        for whole, tile in ((1.0, 512), (1.0, 1024))
    ]
    torch.testing.assert_close(alike[0], alike[1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("whole", [9.0, float("inf"), 0.0])
def test_statistics_may_be_gathered_in_windows_and_are_shared(whole: float) -> None:
    pixels = np.linspace(0, 1, 128 * 192 * 3, dtype=np.float32).reshape(128, 192, 3)
    tiling = Tiling(whole, 64, 16, window=64)
    change = _restored(MinusSpread(), pixels, tiling=tiling) - pixels
    np.testing.assert_allclose(change, np.broadcast_to(change[0, 0], change.shape), atol=1e-6)
    of_windows = pixels.reshape(2, 64, 3, 64, 3).std((1, 3)).mean((0, 1))
    np.testing.assert_allclose(-change[0, 0], of_windows, rtol=1e-3)
    assert (pixels.std((0, 1)) > 1.5 * of_windows).all()


@pytest.mark.parametrize("whole", [9.0, float("inf")])
def test_windows_reach_the_last_rows_and_columns(whole: float) -> None:
    pixels = np.zeros((100, 130, 3), np.float32)
    pixels[90:, 120:] = np.linspace(0, 1, 10, dtype=np.float32)[:, None]
    change = _restored(MinusSpread(), pixels, tiling=Tiling(whole, 64, 16, window=64)) - pixels
    spreads = [part.cut(pixels, 1).std((0, 1)) for part in spread_crops(100, 130, 64, 4)]
    assert sum(value.max() > 0 for value in spreads) == 1
    np.testing.assert_allclose(-change[0, 0], np.mean(spreads, 0), rtol=1e-3)


def test_an_image_is_described_whole_where_no_size_is_too_large() -> None:
    pixels = _pixels((40, 48, 3))
    engine = TiledInference(MinusMean(), torch.device("cpu"), Tiling(whole_megapixels=float("inf")))
    mean = engine.collect_statistics(pixels).statistics["mean"]
    np.testing.assert_allclose(mean.flatten(), pixels.mean((0, 1)), rtol=1e-3)


def test_what_fits_a_window_has_its_own_statistics() -> None:
    pixels = np.linspace(0, 1, 60 * 64 * 3, dtype=np.float32).reshape(60, 64, 3)
    alone = _restored(MinusSpread(), pixels, tiling=Tiling(9, 64, 16, window=64))
    np.testing.assert_allclose(alone, pixels - pixels.std((0, 1)), atol=1e-5)


@pytest.mark.parametrize("ensemble", [False, True])
def test_given_statistics_replace_the_images_own(ensemble: bool) -> None:
    pixels = _pixels((100, 90, 3))
    conditioning = {"mean": torch.full((1, 3, 1, 1), 0.25)}
    for tiling in (Tiling(), _SMALL_TILES, Tiling(window=32)):
        out = _restored(
            MinusMean(), pixels, tiling=tiling, conditioning=conditioning, ensemble=ensemble
        )
        np.testing.assert_allclose(out, pixels - 0.25, atol=1e-6)


def test_an_ensemble_pads_once_and_adds_to_the_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, calls = unveil.create_model("mtair_tiny").eval(), []

    def counted(images: torch.Tensor, multiple: int) -> torch.Tensor:
        calls.append("pad")
        return pad_to_multiple(images, multiple)

    monkeypatch.setattr(network_pass, "pad_to_multiple", counted)
    monkeypatch.setattr(network, "_check", lambda _: calls.append("check"))
    monkeypatch.setattr(network, "forward", lambda *_: calls.append("forward"))
    pixels = _pixels((37, 50, 3))
    out = _restored(network, pixels, ensemble=True)
    assert calls == ["pad"]
    assert not np.array_equal(out, pixels)


class _Shift(nn.Module):
    """Moves everything one pixel to the right: the ensemble spreads it evenly."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.roll(1, -1)


def test_the_ensemble_averages_all_flips_and_rotations() -> None:
    pixels = np.zeros((5, 5, 3), np.float32)
    pixels[2, 2] = 1
    out = _restored(_Shift(), pixels, ensemble=True)[..., 0]
    wanted = np.zeros((5, 5))
    wanted[[1, 3, 2, 2], [2, 2, 1, 3]] = 0.25
    np.testing.assert_allclose(out, wanted, atol=1e-6)


class _MinusSlope(MinusMean):
    """Subtracts the mean slope along rows, which a quarter turn makes one along columns."""

    def measure(self, x: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:  # noqa: ARG002
        return x.diff(dim=-1).abs().mean((2, 3), keepdim=True)


@pytest.mark.parametrize("tiling", [Tiling(), _SMALL_TILES, Tiling(window=32)])
def test_every_turn_of_the_ensemble_has_its_own_statistics(tiling: Tiling) -> None:
    ramp = np.linspace(0, 0.95, 96, dtype=np.float32)
    pixels = np.broadcast_to(ramp[None, :, None], (96, 96, 3)).copy()
    out = _restored(_MinusSlope(), pixels, tiling=tiling, ensemble=True)
    # Of eight turns four see the slope along their rows.
    np.testing.assert_allclose(pixels - out, 0.01 / 2, rtol=1e-2)


def test_gray_gets_the_mean_change_of_the_channels() -> None:
    class Tint(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.tensor([0.1, 0.2, 0.3])[:, None, None]

    pixels = _pixels((9, 8, 1))
    np.testing.assert_allclose(_restored(Tint(), pixels), pixels + 0.2, atol=1e-6)


def test_out_of_memory_means_smaller_tiles_and_the_same_pixels(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pixels = _pixels((400, 300, 3))
    model = Hungry(140)
    with caplog.at_level(logging.WARNING):
        tiled = _restored(model, pixels, tiling=Tiling(1.0, 512, 64))
    assert model.refused == 2
    assert "tiles of 128 pixels" in caplog.text
    np.testing.assert_allclose(tiled, _restored(Blur(), pixels), atol=2e-6)


def test_a_tiling_that_was_asked_for_fails_rather_than_change() -> None:
    with pytest.raises(InputError, match=r"whole image.*--tile"):
        _restored(Hungry(50), _pixels((80, 80, 3)), forced=True)


def test_no_memory_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match="smallest tiles"):
        _restored(Hungry(5), _pixels((80, 80, 3)))


def test_known_shortage_is_met_before_it_hurts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = Hungry(10**6)
    per_pixel = bytes_per_pixel(model, _CPU)
    monkeypatch.setattr(grid_choice, "available_bytes", lambda _: int(per_pixel * 130**2))
    monkeypatch.setattr(grid_choice, "_AMPLE_BYTES_PER_PIXEL", 10**9)
    with caplog.at_level(logging.WARNING):
        _restored(model, _pixels((300, 300, 3)), tiling=Tiling(0.01, 256, 32))
    assert "tiles of 128 pixels" in caplog.text


def test_other_errors_are_not_taken_for_short_memory() -> None:
    class Broken(nn.Module):
        def forward(self, _: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        _restored(Broken(), _pixels((8, 8, 3)))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_the_probe_sees_what_a_pass_takes() -> None:
    class Wide(nn.Module):
        size_multiple = 1

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.repeat(1, 100, 1, 1)[:, :3] + x

    # 300 channels of float32, plus the input, the sum and a margin of one half.
    assert 1.5 * 1200 <= bytes_per_pixel(Wide(), _CPU) <= 1.5 * 1300


def test_file_backed_pixels_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = _pixels((200, 150, 3), "uint8")
    wanted = _restored(Blur(), pixels, tiling=_SMALL_TILES)
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 1000)
    given, out = allocate(pixels.shape, "uint8"), allocate(pixels.shape, "uint8")
    assert isinstance(out, np.memmap)
    given[:] = pixels
    TiledInference(Blur(), _CPU, _SMALL_TILES).restore(given, out)
    np.testing.assert_array_equal(out, wanted)


def test_progress_ends_at_one() -> None:
    seen: list[float] = []
    pixels = _pixels((150, 150, 3))
    TiledInference(Blur(), _CPU, _SMALL_TILES).restore(pixels, np.empty_like(pixels), seen.append)
    assert seen == sorted(seen)
    assert (len(seen), seen[-1]) == (9, 1.0)


@pytest.mark.parametrize("ensemble", [False, True])
def test_one_can_give_up_between_any_two_passes(ensemble: bool) -> None:
    passes: list[int] = []
    told: list[int] = []
    network = MinusMean()
    network.register_forward_hook(lambda *_: passes.append(1))
    engine = TiledInference(network, _CPU, _SMALL_TILES, ensemble=ensemble)
    pixels = _pixels((200, 190, 3))
    shares: list[float] = []

    def progress(share: float) -> None:
        told.append(len(passes))
        shares.append(share)

    engine.restore(pixels, np.empty_like(pixels), progress)
    assert np.diff([0, *told]).max() == 1
    assert shares == sorted(shares)
    assert shares[-1] == 1
