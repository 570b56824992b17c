"""Haze follows the scattering law and its depth follows the photo."""

import numpy as np
import pytest

from unveil.degradations import Frame, parse
from unveil.degradations.haze_depth import SCENES, scene_depth, synthetic_depth
from unveil.errors import InputError
from unveil.imaging import load_rgb
from unveil.imaging.convert import to_unit


def test_a_given_depth_gives_the_scattering_law():
    rng = np.random.default_rng(0)
    clean = rng.random((12, 16, 3), dtype=np.float32)
    depth = rng.random((12, 16), dtype=np.float32)
    frame = Frame(0, 0, 12, 16, depth)
    hazy = parse("haze:beta=1.3,airlight=0.8,tint=0")(clean, rng, frame)
    t = np.exp(-1.3 * depth.astype(np.float64))[..., None]
    assert np.abs(hazy - (clean * t + 0.8 * (1 - t))).max() < 1e-6


def test_a_depth_of_another_size_is_refused():
    frame = Frame(0, 0, 8, 8, np.zeros((4, 4), np.float32))
    with pytest.raises(InputError, match="depth map of shape"):
        parse("haze")(np.zeros((8, 8, 3), np.float32), np.random.default_rng(0), frame)


def test_more_scattering_brings_every_pixel_closer_to_the_airlight():
    image = np.random.default_rng(0).random((40, 40, 3), dtype=np.float32)
    gaps = [
        np.abs(parse(f"haze:beta={beta},tint=0")(image, np.random.default_rng(1)) - 0.88).mean()
        for beta in (0, 0.5, 1, 2, 4)
    ]
    assert gaps == sorted(gaps, reverse=True)


def _edged():
    """A dark tower before a bright, textured background."""
    image = np.full((120, 160, 3), 0.8, np.float32)
    image += np.random.default_rng(0).normal(0, 0.03, image.shape).astype(np.float32)
    image[30:, 70:90] = 0.15
    return np.clip(image, 0, 1)


def test_invented_depth_is_farther_above_and_has_the_photos_edges():
    image = _edged()
    at_edge, elsewhere, above, below = [], [], [], []
    for seed in range(20):
        depth = synthetic_depth(image, np.random.default_rng(seed))
        step = np.abs(np.diff(depth[40:110], axis=1))
        at_edge.append(step[:, [69, 89]].mean())
        elsewhere.append(step[:, 20:60].mean())
        above.append(depth[:10].mean())
        below.append(depth[-10:].mean())
    assert np.mean(at_edge) > 5 * np.mean(elsewhere)
    assert all(a > b for a, b in zip(above, below, strict=True))


def test_a_crop_gets_its_part_of_the_photos_depth(unveil_data):
    photo = load_rgb(unveil_data / "kodak24" / "kodim21.png").astype(np.float32) / 255
    height, width = photo.shape[:2]
    apart = []
    for seed in range(5):
        whole = synthetic_depth(photo, np.random.default_rng(seed))
        for top, left in ((0, 0), (200, 300), (height - 64, width - 64)):
            crop = np.ascontiguousarray(photo[top : top + 64, left : left + 64])
            frame = Frame(top, left, height, width)
            part = synthetic_depth(crop, np.random.default_rng(seed), frame)
            apart.append(np.abs(part - whole[top : top + 64, left : left + 64]).mean())
    # Only the filters' windows, cut off at the crop's border, differ.
    assert np.mean(apart) < 0.02


def test_haze_over_a_measured_depth_is_stronger_far_away(unveil_data):
    photo = load_rgb(unveil_data / "depth" / "aloe_rgb.jpg").astype(np.float32) / 255
    disparity = load_rgb(unveil_data / "depth" / "aloe_disp.png")[..., 0].astype(np.float32)
    far = np.clip(disparity[disparity > 0].min() / np.maximum(disparity, 1), 0, 1)
    frame = Frame(0, 0, *photo.shape[:2], far.astype(np.float32))
    hazy = parse("haze:beta=2,airlight=0.9,tint=0")(photo, np.random.default_rng(0), frame)
    change = np.abs(hazy - photo).mean(axis=2) / np.maximum(np.abs(0.9 - photo).mean(axis=2), 0.05)
    assert change[far > 0.8].mean() > 1.5 * change[far < 0.4].mean()


def test_the_tint_warms_red_and_cools_blue_by_its_deviation():
    black = np.zeros((4, 4, 3), np.float32)
    far = Frame(0, 0, 4, 4, depth=np.ones((4, 4), np.float32))
    haze = parse("haze:beta=8,airlight=0.5,tint=0.05")
    light = np.array(
        [haze(black, np.random.default_rng(i), far).mean((0, 1)) for i in range(400)]
    ) / (1 - np.exp(-8))
    red, green, blue = (light - 0.5).T
    assert red.std() == pytest.approx(0.05, rel=0.15)
    np.testing.assert_allclose(blue, -red, atol=1e-5)
    np.testing.assert_allclose(green, 0.15 * red, atol=1e-5)
    plain = parse("haze:beta=8,airlight=0.5,tint=0")(black, np.random.default_rng(0), far)
    assert np.ptp(plain) == 0


def test_nothing_is_nearer_than_the_lens_allows(unveil_data):
    for seed, file in enumerate(sorted((unveil_data / "kodak24").glob("*.png"))[:4]):
        depth = synthetic_depth(to_unit(load_rgb(file)), np.random.default_rng(seed))
        assert depth.min() >= 0.08
        assert depth.max() <= 1


def _scene(height=96, width=128):
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [0.5 + 0.4 * np.sin(x / a + y / b) for a, b in ((19, 14), (11, 26), (15, 17))]
    return np.stack(waves, axis=2).astype(np.float32)


@pytest.mark.parametrize("scene", SCENES)
def test_a_crop_has_its_part_of_every_scenes_depth(scene):
    photo = _scene(192, 256)
    for seed in range(4):
        whole = scene_depth(scene, photo, np.random.default_rng(seed))
        assert 0.08 <= whole.min() <= whole.max() <= 1
        frame = Frame(top=60, left=80, height=192, width=256)
        part = scene_depth(scene, photo[60:160, 80:220], np.random.default_rng(seed), frame)
        # Windows of the filters end at the crop's borders.
        inner = np.s_[20:-20, 20:-20]
        assert np.abs(part - whole[60:160, 80:220])[inner].max() < 0.02


def test_scenes_have_the_depth_their_names_say():
    photo = np.full((96, 128, 3), 0.5, np.float32)
    planes = [scene_depth("planes", photo, np.random.default_rng(i)) for i in range(30)]
    assert np.mean([d[:8].mean() - d[-8:].mean() for d in planes]) > 0.3
    rooms = [scene_depth("room", photo, np.random.default_rng(i)) for i in range(30)]
    border = np.mean([[d[0].mean(), d[-1].mean(), d[:, 0].mean(), d[:, -1].mean()] for d in rooms])
    assert np.mean([d.max() for d in rooms]) > border + 0.2
    assert np.ptp(scene_depth("even", photo, np.random.default_rng(0))) == 0
    fields = np.mean([scene_depth("field", photo, np.random.default_rng(i)) for i in range(60)], 0)
    assert np.ptp(fields) < 0.3


def test_even_haze_of_any_colour_is_one_line_for_every_channel():
    """Koschmieder's law with one transmission: each channel is a straight line in the scene."""
    image = _scene()
    hazy = parse("haze:scene=even,beta=1.2,airlight=0.5,cast=0.3")(image, np.random.default_rng(3))
    slopes = []
    for channel in range(3):
        slope, offset = np.polyfit(image[..., channel].ravel(), hazy[..., channel].ravel(), 1)
        line = slope * image[..., channel] + offset
        assert np.abs(line - hazy[..., channel]).max() < 1e-4
        slopes.append(slope)
    assert np.ptp(slopes) < 1e-4
    assert np.exp(-1.2) - 1e-4 <= slopes[0] <= np.exp(-1.2 * 0.3)


def test_the_light_may_have_any_colour_and_vary_over_a_photo():
    black, far = np.zeros((64, 96, 3), np.float32), np.ones((64, 96), np.float32)

    def light(text):
        """The light itself: haze so dense that nothing else is seen."""
        frame = Frame(0, 0, 64, 96, depth=far)
        return np.stack([parse(text)(black, np.random.default_rng(i), frame) for i in range(200)])

    colours = np.log(light("haze:beta=8,airlight=0.3,tint=0,cast=0.2").mean(axis=(1, 2)))
    assert colours.std(axis=0) == pytest.approx([0.2] * 3, rel=0.2)
    assert np.abs(np.corrcoef(colours.T)[np.triu_indices(3, 1)]).max() < 0.25
    uneven = light("haze:beta=8,airlight=0.5,tint=0,glow=0.2")
    assert uneven.std(axis=(1, 2)).mean() / 0.5 == pytest.approx(0.2, rel=0.25)
    assert light("haze:beta=8,airlight=0.5,tint=0").std(axis=(1, 2)).max() < 1e-4


def test_dense_and_thin_haze_in_one_photo():
    image, far = np.zeros((64, 96, 3), np.float32), np.ones((64, 96), np.float32)
    frame = Frame(0, 0, 64, 96, depth=far)
    text = "haze:beta=1,airlight=0.8,tint=0,uneven=0.3"
    hazy = [parse(text)(image, np.random.default_rng(i), frame) for i in range(100)]
    density = -np.log(1 - np.stack(hazy) / 0.8)
    assert density.mean() == pytest.approx(1, rel=0.1)
    assert density.std(axis=(1, 2)).mean() == pytest.approx(0.3, rel=0.25)
