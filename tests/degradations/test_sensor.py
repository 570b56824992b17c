"""A sensor's noise follows its law on the mosaic and keeps the truth."""

import numpy as np
import pytest

from unveil.data import match_pairs
from unveil.degradations import parse
from unveil.degradations.noise import to_linear
from unveil.degradations.sensor import demosaicked, draw_noise_law
from unveil.imaging import load_rgb


def _rng(seed=0):
    return np.random.default_rng(seed)


def _db(a, b):
    return -10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2))


def test_shot_and_read_noise_are_drawn_together():
    laws = np.log([draw_noise_law(_rng(i), 800) for i in range(3000)])
    assert laws[:, 0].mean() == pytest.approx(np.log(5 * 3.6e-6) + 0.85 * np.log(8), abs=0.05)
    assert laws[:, 1].mean() == pytest.approx(np.log(25 * 7.7e-9) + 1.05 * np.log(8), abs=0.08)
    # Spreads 0.65 and sqrt((1.34 * 0.65)^2 + 0.80^2), covariance 1.34 * 0.65^2.
    assert laws.std(axis=0) == pytest.approx([0.65, np.hypot(1.34 * 0.65, 0.80)], rel=0.05)
    assert np.corrcoef(laws.T)[0, 1] == pytest.approx(1.34 * 0.65 / 1.183, abs=0.04)


@pytest.mark.parametrize("level", [0.1, 0.5])
def test_noise_on_a_flat_field_follows_from_the_law(level):
    """Demosaicking by averages leaves these shares of a site's variance, whichever the place."""
    image = np.full((300, 300, 3), level, np.float32)
    red, blue = 2.0, 1.6
    ours = to_linear(parse(f"sensor:iso=1600,red={red},blue={blue},matrix=0")(image, _rng(3)))
    a, b = draw_noise_law(_rng(3), 1600)
    linear = float(to_linear(image)[0, 0, 0])
    # Red and blue: a quarter of the pixels are sites (1), half lie between 2 (1/2), a quarter
    # between 4 (1/4). Green: half are sites, half lie between 4.
    shares = np.array([9 / 16, 5 / 8, 9 / 16])
    gain = np.array([red, 1, blue])
    expected = gain**2 * shares * (a * linear / gain + b)
    variance = ((ours - linear) ** 2).mean(axis=(0, 1))
    np.testing.assert_allclose(variance, expected, rtol=0.05)


def test_the_colour_matrix_keeps_gray_and_mixes_channels():
    image = np.full((200, 200, 3), 0.5, np.float32)
    plain, mixed = (
        parse(f"sensor:iso=3200,red=1,blue=1,matrix={m}")(image, _rng(1)) - image for m in (0, 1)
    )
    assert abs(mixed.mean()) < 1e-3
    # (1 + m) I - m / 3 makes channels whose noise is independent correlate negatively.
    assert abs(np.corrcoef(plain.reshape(-1, 3).T)[0, 2]) < 0.05
    assert np.corrcoef(mixed.reshape(-1, 3).T)[0, 2] < -0.2


def test_smoothing_takes_fine_noise_and_leaves_blotches():
    image = np.full((200, 200, 3), 0.4, np.float32)

    def neighbours(text):
        noise = (parse(f"sensor:iso=6400,{text}")(image, _rng()) - image)[..., 0]
        return np.corrcoef(noise[:, 2:].ravel(), noise[:, :-2].ravel())[0, 1]

    assert neighbours("scale=1") < 0.3
    assert neighbours("chroma=3") > neighbours("scale=1") + 0.2
    assert neighbours("scale=0.5") > 0.5


@pytest.mark.parametrize("curve", ["srgb", "film"])
def test_without_noise_the_way_back_and_forth_changes_nothing(curve, monkeypatch):
    from unveil.degradations import sensor

    monkeypatch.setattr(sensor, "draw_noise_law", lambda *_: (0.0, 0.0))
    image = _rng(2).random((21, 34, 3), dtype=np.float32)
    back = parse(f"sensor:curve={curve},scale=1.3,chroma=1")(image, _rng())
    np.testing.assert_allclose(back, image, atol=2e-3 if curve == "film" else 1e-5)


def test_demosaicking_interpolates_a_ramp_exactly():
    y, x = np.mgrid[:12, :16].astype(np.float32)
    full = demosaicked(3 * x + 2 * y)
    inner = full[1:-1, 1:-1] - (3 * x + 2 * y)[1:-1, 1:-1, None]
    assert np.abs(inner).max() < 1e-4


def test_the_median_camera_resembles_cameras_at_iso_3200(unveil_data):
    ours, theirs = [], []
    for index, pair in enumerate(match_pairs(unveil_data / "noise_cc").pairs):
        clean, noisy = (
            load_rgb(path)[:256, :256].astype(np.float32) / 255
            for path in (pair.clean, pair.degraded)
        )
        theirs.append(_db(noisy, clean))
        made = parse("sensor:iso=3200,smoothing=0.8,chroma=1")
        ours.append(np.mean([_db(made(clean, _rng((index, i))), clean) for i in range(4)]))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=2)


def _grain(noise):
    """Correlation of neighbours and of channels, and the channels' deviations over green's."""
    noise = noise - noise.mean(axis=(0, 1))
    pairs = [np.corrcoef(noise[1:, :, k].ravel(), noise[:-1, :, k].ravel())[0, 1] for k in range(3)]
    channels = np.corrcoef(noise.reshape(-1, 3).T)[np.triu_indices(3, 1)]
    deviation = noise.std(axis=(0, 1))
    return (
        np.mean(pairs),
        np.mean(channels),
        deviation[0] / deviation[1],
        deviation[2] / deviation[1],
    )


def test_any_camera_has_the_grain_of_real_ones(unveil_data):
    flat = np.full((128, 128, 3), 0.45, np.float32)
    ours = [_grain(parse("sensor:any")(flat, _rng(i)) - flat) for i in range(60)]
    theirs = []
    for pair in match_pairs(unveil_data / "noise_cc").pairs:
        clean, noisy = (
            load_rgb(path)[:256, :256].astype(np.float32) / 255
            for path in (pair.clean, pair.degraded)
        )
        theirs.append(_grain(noisy - clean))
    # Neighbours and channels correlate, and red and blue are noisier, as in JPEG files of cameras.
    np.testing.assert_allclose(np.median(ours, axis=0), np.median(theirs, axis=0), atol=0.25)
