"""Rain keeps its calibration, its statistics on crops, and its direction."""

import numpy as np
import pytest

from unveil.degradations import Frame, parse
from unveil.imaging import load_rgb


def _psnr(a, b):
    return -10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2))


def _black(height, width):
    return np.zeros((height, width, 3), np.float32)


@pytest.mark.parametrize(
    ("preset", "low", "high"),
    # Mean PSNR of the published sets' inputs: Rain100L 26.8 dB, Rain100H 12 dB.
    [("light", 26.0, 28.0), ("heavy", 12.0, 14.0)],
)
def test_presets_are_as_strong_as_the_published_sets(unveil_data, preset, low, high):
    scores = []
    for index, path in enumerate(sorted((unveil_data / "kodak24").glob("*.png"))):
        clean = load_rgb(path).astype(np.float32) / 255
        rainy = parse(f"rain:{preset}")(clean, np.random.default_rng((0, index)))
        scores.append(_psnr(np.rint(255 * rainy) / 255, clean))
    assert len(scores) == 24
    assert low <= np.mean(scores) <= high


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("angle", [0, 40])
def test_density_is_the_mean_cover(angle, depth):
    """The light of streaks adds up to density x brightness x the mean of their profile."""
    description = f"rain:density=0.2,angle={angle},spread=0,width=4,length=60,veil=0,brightness=0.1"
    rainy = parse(f"{description},depth={depth}")(_black(400, 400), np.random.default_rng(0))
    # A Gaussian of the half-maximum width w has the area 1.064 w; a parabola the mean 2/3.
    profile = 1.0645 * 2 / 3
    # Near drops are dimmer; over the distances, weighted by their streaks' area, that averages to:
    nearness = {1: 1.0, 3: 0.958}[depth]
    assert rainy.mean() == pytest.approx(0.2 * 0.1 * profile * nearness, rel=0.15)


def test_a_crop_has_the_statistics_of_its_photo():
    pipeline = parse("rain:density=0.5,angle=20,veil=0,brightness=0.2")
    photo = pipeline(_black(480, 640), np.random.default_rng(0))
    frame = Frame(100, 100, 480, 640)
    crops = [pipeline(_black(64, 64), np.random.default_rng(i), frame) for i in range(100)]
    assert np.mean(crops) == pytest.approx(photo.mean(), rel=0.07)
    assert np.std(crops) == pytest.approx(photo.std(), rel=0.07)
    # Borders get as much rain as the middle: streaks that start outside reach in.
    mean = np.mean(crops, axis=(0, 3))
    assert mean[:6].mean() == pytest.approx(mean[24:40].mean(), rel=0.15)
    assert mean[:, -6:].mean() == pytest.approx(mean[:, 24:40].mean(), rel=0.15)


@pytest.mark.parametrize("angle", [-40, 0, 25])
def test_streaks_run_at_the_angle_asked_for(angle):
    description = f"rain:density=0.2,angle={angle},spread=0,depth=1,width=8,veil=0"
    light = parse(description)(_black(300, 300), np.random.default_rng(1))[..., 0]
    dy, dx = np.gradient(light.astype(np.float64))
    # The main axis of the structure tensor lies across the streaks.
    across = 0.5 * np.arctan2(2 * (dx * dy).sum(), (dx * dx - dy * dy).sum())
    assert np.rad2deg(across) == pytest.approx(-angle, abs=1)


def test_no_density_and_no_veil_change_nothing():
    image = np.random.default_rng(0).random((20, 30, 3), dtype=np.float32)
    dry = parse("rain:density=0,veil=0")(image, np.random.default_rng(0))
    assert np.array_equal(dry, image)


def test_the_veil_is_its_share_of_the_sky_on_average():
    dark = np.zeros((128, 128, 3), np.float32)
    rain = parse("rain:density=0,veil=0.4")
    share = np.mean(
        [rain(dark, np.random.default_rng(i)).mean((0, 1)) for i in range(30)], axis=0
    ) / np.array([0.86, 0.88, 0.90])
    np.testing.assert_allclose(share, 0.4, rtol=0.1)


def test_a_crop_has_its_part_of_the_photos_veil():
    dark = np.zeros((120, 160, 3), np.float32)
    rain = parse("rain:density=0,veil=0.4")
    whole = rain(dark, np.random.default_rng(7))
    assert np.ptp(whole) > 0.02
    frame = Frame(top=30, left=50, height=120, width=160)
    part = rain(dark[30:90, 50:130], np.random.default_rng(7), frame)
    np.testing.assert_allclose(part, whole[30:90, 50:130], atol=1e-5)


def test_streaks_overlap_by_adding_their_light():
    dark = np.zeros((96, 96, 3), np.float32)
    bright, faint = (
        parse(f"rain:density=0.5,brightness={value},veil=0")(dark, np.random.default_rng(1))
        for value in (0.02, 0.01)
    )
    np.testing.assert_allclose(bright, 2 * faint, atol=1e-5)


STYLES = ("streaks", "layer", "sheet", "drops")


@pytest.mark.parametrize("angle", [-35, 20])
@pytest.mark.parametrize("grain", ["dots", "gaussian"])
def test_layers_run_at_the_angle_asked_for(angle, grain):
    text = f"rain:style=layer,grain={grain},angle={angle},length=40,width=5,density=1,veil=0"
    light = parse(text)(_black(300, 300), np.random.default_rng(1))[..., 0]
    dy, dx = np.gradient(light.astype(np.float64))
    across = 0.5 * np.arctan2(2 * (dx * dy).sum(), (dx * dx - dy * dy).sum())
    assert np.rad2deg(across) == pytest.approx(-angle, abs=3)


@pytest.mark.parametrize("density", [0.2, 1.2])
def test_a_layer_leaves_as_many_pixels_dry_as_streaks_of_its_density_would(density):
    text = f"rain:style=layer,density={density},veil=0,brightness=0.4"
    light = parse(text)(_black(256, 256), np.random.default_rng(0))[..., 0]
    assert (light == 0).mean() == pytest.approx(np.exp(-density), abs=0.02)
    assert (light > 0.4).mean() == pytest.approx(0.002, abs=0.0015)


def test_near_drops_follow_a_poisson_law_and_are_flat():
    text = "rain:style=drops,density=0.05,length=40,width=12,depth=1,brightness=0.1,veil=0,spread=0"
    rain = parse(text)
    # Area of a swept disc; over crops the mean cover is the density.
    light = [rain(_black(96, 96), np.random.default_rng(i)).mean() for i in range(200)]
    assert np.mean(light) == pytest.approx(0.05 * 0.1, rel=0.15)
    # Var = density / area of a drop, at most, where drops are small beside the crop.
    assert np.std(light) > 0.1 * np.sqrt(0.05 * (40 * 12 + 113)) / 96 * 0.6


@pytest.mark.parametrize("style", STYLES)
def test_every_style_brightens_and_reaches_the_borders(style):
    text = f"rain:style={style},veil=0,density=0.6"
    mean = np.mean(
        [parse(text)(_black(64, 64), np.random.default_rng(i)) for i in range(60)], axis=(0, 3)
    )
    assert mean.min() >= 0
    assert mean[:8].mean() == pytest.approx(mean.mean(), rel=0.3)
    assert mean[:, -8:].mean() == pytest.approx(mean.mean(), rel=0.3)


def test_blends_follow_their_formulas():
    image = np.full((64, 64, 3), 0.6, np.float32)
    added, screened, laid = (
        parse(f"rain:veil=0,density=0.3,blend={blend}")(image, np.random.default_rng(0))
        for blend in ("add", "screen", "alpha")
    )
    light = parse("rain:veil=0,density=0.3")(_black(64, 64), np.random.default_rng(0))
    few = np.clip(light, 0, 1)
    np.testing.assert_allclose(added, np.clip(0.6 + light, 0, 1), atol=1e-5)
    np.testing.assert_allclose(screened, 1 - 0.4 * (1 - few), atol=1e-5)
    sky = np.array([0.86, 0.88, 0.90])
    np.testing.assert_allclose(laid, 0.6 + few * (sky - 0.6), atol=1e-5)


def test_patches_stay_dry_and_mist_grows_with_distance():
    even, patchy = (
        parse(f"rain:style=layer,veil=0,grain=gaussian,density=1,length=5,patchy={p}")(
            _black(200, 200), np.random.default_rng(2)
        )
        for p in (0, 1)
    )
    blocks = [x[..., 0].reshape(10, 20, 10, 20).mean(axis=(1, 3)) for x in (even, patchy)]
    assert blocks[1].std() / blocks[1].mean() > 2 * blocks[0].std() / blocks[0].mean()
    misty = parse("rain:density=0,veil=0,mist=1.5")(_black(120, 160), np.random.default_rng(0))
    assert misty[:20].mean() > 1.5 * misty[-20:].mean()
