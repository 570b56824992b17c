"""Noise has the moments its docstring states."""

import numpy as np
import pytest

from unveil.data import match_pairs
from unveil.degradations import parse
from unveil.degradations.noise import to_linear, to_srgb
from unveil.imaging import load_rgb

GRAY = np.full((256, 256, 3), 100 / 255, np.float32)


def _rng(seed=0):
    return np.random.default_rng(seed)


def test_gaussian_noise_has_its_sigma_and_is_not_clipped():
    noise = parse("noise:sigma_255=100")(GRAY, _rng()) - GRAY
    # 196,608 samples: the standard error of the estimate is 0.16 % of sigma.
    assert noise.std() * 255 == pytest.approx(100, rel=0.01)
    assert abs(noise.mean()) * 255 < 1
    assert parse("noise:sigma_255=100")(GRAY, _rng()).min() < 0


@pytest.mark.parametrize("kind", ["noise", "noise_uint8"])
@pytest.mark.parametrize("common", [-0.5, -0.2, 0, 0.4, 1])
def test_channels_correlate_as_asked_at_the_same_sigma(kind, common):
    noise = parse(f"{kind}:sigma_255=20,common={common}")(GRAY, _rng()) * 255 - 100
    assert noise.std(axis=(0, 1)) == pytest.approx([20, 20, 20], rel=0.015)
    correlation = np.corrcoef(noise.reshape(-1, 3).T)
    assert correlation[[0, 0, 1], [1, 2, 2]] == pytest.approx([common] * 3, abs=0.02)
    if common == 1:
        assert np.array_equal(noise[..., 0], noise[..., 2])
    if common == -0.5 and kind == "noise":
        assert np.abs(noise.mean(axis=2)).max() < 1e-3


def test_grain_blurs_noise_and_keeps_its_sigma():
    noise = parse("noise:sigma_255=20,grain=1")(GRAY, _rng()) - GRAY
    assert noise.std() * 255 == pytest.approx(20, rel=0.03)
    plane = noise[..., 0]
    assert np.corrcoef(plane[1:].ravel(), plane[:-1].ravel())[0, 1] == pytest.approx(
        np.exp(-0.25), abs=0.02
    )


def test_uint8_noise_is_whole_levels_and_half_a_level_darker():
    noisy = parse("noise_uint8:sigma_255=10")(GRAY, _rng()) * 255
    assert np.abs(noisy - noisy.round()).max() < 1e-4
    assert noisy.mean() == pytest.approx(99.5, abs=0.1)
    assert noisy.std() == pytest.approx(np.sqrt(100 + 1 / 12), rel=0.01)


def test_uint8_noise_without_noise_is_the_identity_on_8_bit_images():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    image = levels.astype(np.float32) / np.float32(255)
    assert np.array_equal(parse("noise_uint8:sigma_255=0")(image, _rng()), image)


@pytest.mark.parametrize("common", [0, 0.6])
@pytest.mark.parametrize("correlation", [0, 0.7, 1.5])
def test_camera_noise_follows_the_shot_and_read_formula_in_linear_light(correlation, common):
    shot, read = 0.002, 0.003
    grain = f"correlation={correlation},common={common}"
    pipeline = parse(f"camera:shot={shot},read={read},{grain}")
    for level in (0.3, 0.7):
        image = np.full((256, 256, 3), level, np.float32)
        x = to_linear(image).astype(np.float64)
        linear = to_linear(pipeline(image, _rng()))
        assert (linear - x).std() == pytest.approx(np.sqrt(shot * x.mean() + read**2), rel=0.04)


def test_camera_grain_is_correlated_between_neighbours_only_when_asked():
    def neighbours(correlation):
        description = f"camera:shot=0.002,read=0,correlation={correlation}"
        noise = parse(description)(GRAY, _rng())[..., 0]
        return np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]

    assert abs(neighbours(0)) < 0.02
    # A Gaussian of standard deviation s correlates neighbours by exp(-1 / 4 s^2).
    assert neighbours(1) == pytest.approx(np.exp(-0.25), abs=0.02)


@pytest.mark.parametrize("common", [0, 0.4, 1])
def test_camera_noise_is_shared_between_channels_as_asked(common):
    noise = parse(f"camera:shot=0.002,read=0,common={common},correlation=0")(GRAY, _rng())
    correlation = np.corrcoef(noise.reshape(-1, 3).T)
    assert correlation[0, 1] == pytest.approx(common, abs=0.02)
    assert correlation[1, 2] == pytest.approx(common, abs=0.02)


def test_default_camera_noise_resembles_cameras_at_iso_3200(unveil_data):
    ours, theirs = [], []
    for pair in match_pairs(unveil_data / "noise_cc").pairs:
        clean, noisy = (
            load_rgb(path).astype(np.float64) / 255 for path in (pair.clean, pair.degraded)
        )
        theirs.append(-10 * np.log10(np.mean((noisy - clean) ** 2)))
        made = parse("camera")(clean.astype(np.float32), _rng())
        ours.append(-10 * np.log10(np.mean((made - clean) ** 2)))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=1)


def test_tone_curve_and_its_inverse_agree():
    x = np.linspace(0, 1, 1001, dtype=np.float32)[None, :, None]
    assert np.abs(to_srgb(to_linear(x)) - x).max() < 1e-6
