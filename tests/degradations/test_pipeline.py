"""Every degradation keeps the contract of a pipeline."""

import hashlib

import numpy as np
import pytest

from unveil.degradations import CATALOGUE, Pipeline, parse
from unveil.errors import InputError


def _photo(height=40, width=56):
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [0.5 + 0.4 * np.sin(x / a + y / b) for a, b in ((5, 9), (7, 4), (3, 11))]
    return np.stack(waves, axis=2).astype(np.float32)


def _descriptions():
    return [
        f"{name}{',' if ':' in name else ':'}{words}"
        for name, entry in sorted(CATALOGUE.items())
        for words in entry.strengths
    ]


@pytest.mark.parametrize("text", _descriptions())
def test_the_same_seed_gives_the_same_bytes(text):
    image = _photo()
    before = image.copy()
    digests = {
        hashlib.sha256(parse(text)(image, np.random.default_rng(7)).tobytes()).hexdigest()
        for _ in range(3)
    }
    assert len(digests) == 1
    assert np.array_equal(image, before), "the input was changed"


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (33, 17)])
@pytest.mark.parametrize("text", _descriptions())
def test_any_size_keeps_its_shape_and_type(text, shape):
    degraded = parse(text)(_photo(*shape), np.random.default_rng(0))
    assert degraded.shape == (*shape, 3)
    assert degraded.dtype == np.float32
    assert np.isfinite(degraded).all()
    if not text.startswith("noise:"):
        assert degraded.min() >= 0
        assert degraded.max() <= 1


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_strengths_are_in_order(name):
    image = _photo(96, 96)
    separator = "," if ":" in name else ":"
    errors = [
        float(np.mean((parse(f"{name}{separator}{words}")(image, rng) - image) ** 2))
        for words in CATALOGUE[name].strengths
        for rng in [np.random.default_rng(5)]
    ]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_identity_returns_an_equal_copy():
    image = _photo()
    same = Pipeline()(image, np.random.default_rng(0))
    assert np.array_equal(same, image)
    assert same is not image


def test_steps_apply_from_left_to_right():
    image = _photo()
    joined = parse("noise:sigma_255=30+jpeg:quality=10")(image, np.random.default_rng(1))
    noisy = parse("noise:sigma_255=30")(image, np.random.default_rng(1))
    by_hand = parse("jpeg:quality=10")(noisy, np.random.default_rng(0))
    assert np.array_equal(joined, by_hand)


def test_drawn_values_stay_in_their_range_and_reproduce_the_image():
    pipeline = parse("noise:sigma_255=5..10")
    drawn = [pipeline.draw(np.random.default_rng(i)) for i in range(200)]
    sigmas = [pipeline.steps[0].values["sigma_255"] for pipeline in drawn]
    assert 5 <= min(sigmas) < 5.2
    assert 9.8 < max(sigmas) <= 10
    assert all(pipeline.exact for pipeline in drawn)


def test_probability_applies_a_step_as_often_as_it_says():
    pipeline = parse("noise:sigma_255=5,p=0.25")
    applied = [len(pipeline.draw(np.random.default_rng(i)).steps) for i in range(400)]
    assert 0.18 < np.mean(applied) < 0.32


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 3)), np.zeros((4, 4, 1), np.float32)]
)
def test_other_shapes_and_types_are_refused(image):
    with pytest.raises(InputError, match=r"expected \(h, w, 3\) float32"):
        parse("noise")(image, np.random.default_rng(0))
