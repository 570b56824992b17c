"""Tone, colour, size and sharpness change the truth of a training pair along with the image."""

import numpy as np
import pytest
from scipy import ndimage

from unveil.degradations import parse


def _rng(seed=0):
    return np.random.default_rng(seed)


def _photo(height=48, width=64):
    return _rng(9).random((height, width, 3), dtype=np.float32)


@pytest.mark.parametrize(
    "text",
    [
        "gray",
        "tone:faded",
        "colour:any",
        "soft:sigma=1",
        "sharpen",
        "resize:factor=0.5",
        "tone:dim",
    ],
)
def test_development_changes_the_truth_as_it_changes_the_image(text):
    image = _photo()
    degraded, truth = parse(text).pair(image, _rng())
    assert np.array_equal(degraded, truth)
    assert np.abs(truth - image).max() > 0.01
    assert np.array_equal(parse(text)(image, _rng()), degraded)


def test_development_after_noise_has_the_same_draws_on_both_sides():
    image = _photo()
    noisy, truth = parse("noise:sigma_255=20+tone:ev=-2..2").pair(image, _rng(4))
    drawn = parse("noise:sigma_255=20+tone:ev=-2..2").draw(_rng(4))
    assert np.array_equal(truth, drawn.steps[1](image, _rng()))
    assert np.array_equal(noisy, parse("noise:sigma_255=20+tone:ev=-2..2")(image, _rng(4)))
    assert np.abs(noisy - truth).max() > 0.05


def test_a_random_step_on_both_sides_is_the_same_on_both():
    moved, truth = parse("noise:sigma_255=1+blur:motion,length=9,side=both").pair(_photo(), _rng())
    still = parse("blur:motion,length=9")(_photo(), _rng(1))
    assert np.abs(moved - truth).max() < 0.03
    assert np.abs(truth - still).max() > 0.03


def test_what_only_files_do_leaves_the_truth():
    image = _photo()
    for text in ("jpeg:quality=30", "bits:depth=4", "noise", "gray:side=degraded"):
        degraded, truth = parse(text).pair(image, _rng())
        assert np.array_equal(truth, image)
        assert not np.array_equal(degraded, image)


def test_gray_has_equal_channels_exactly():
    gray = parse("gray")(_photo(), _rng())
    assert np.array_equal(gray[..., 0], gray[..., 1])
    assert np.array_equal(gray[..., 0], gray[..., 2])
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(gray[..., 0], _photo() @ weights, atol=1e-6)
    noisy, truth = parse("gray+noise:sigma_255=25,common=1").pair(_photo(), _rng())
    assert np.array_equal(noisy[..., 0], noisy[..., 2])
    assert np.array_equal(truth, gray)


def test_tone_follows_its_formula():
    x = np.linspace(0, 1, 33).reshape(1, 33, 1).repeat(3, axis=2)
    image = x.astype(np.float32)
    cases = {
        "tone:ev=-1": x * 2 ** (-1 / 2.2),
        "tone:gamma=2": x**2,
        "tone:contrast=0.4": 0.5 + 0.4 * (x - 0.5),
        "tone:contrast=2": 3 * x**2 - 2 * x**3,
        "tone:black=0.2,white=0.9": 0.2 + 0.7 * x,
    }
    for text, expected in cases.items():
        np.testing.assert_allclose(parse(text)(image, _rng()), expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.7, 2.5])
def test_soft_is_a_gaussian_with_mirrored_edges(sigma):
    ours = parse(f"soft:sigma={sigma}")(_photo(), _rng())
    radius = int(np.ceil(3 * sigma))
    theirs = ndimage.gaussian_filter(
        _photo().astype(np.float64), (sigma, sigma, 0), radius=(radius, radius, 0), mode="reflect"
    )
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_resizing_keeps_what_is_coarse_and_loses_what_is_fine():
    y, x = np.mgrid[:64, :64].astype(np.float32)
    coarse = np.repeat((0.5 + 0.4 * np.sin(x / 12 + y / 9))[..., None], 3, axis=2)
    fine = np.repeat((((x + y) % 2) * 0.5 + 0.25)[..., None], 3, axis=2)
    for kernel in ("bilinear", "bicubic"):
        step = parse(f"resize:factor=0.4,kernel={kernel}")
        assert np.abs(step(coarse, _rng()) - coarse)[8:-8, 8:-8].max() < 0.03
        assert step(fine, _rng())[8:-8, 8:-8].std() < 0.03


def test_bits_are_whole_levels():
    levels = parse("bits:depth=8")(_photo(), _rng()) * 255
    assert np.abs(levels - levels.round()).max() < 1e-4
    assert np.abs(levels / 255 - _photo()).max() <= 0.5 / 255 + 1e-6
