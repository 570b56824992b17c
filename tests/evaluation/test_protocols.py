import math

import numpy as np
import pytest

from unveil.errors import InputError
from unveil.evaluation import PROTOCOLS, protocol_named
from unveil.metrics import psnr, ssim


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 256, (48, 64, 3)).astype(np.float32) / np.float32(255)
    restored = clean + rng.normal(0, 0.1, clean.shape).astype(np.float32)
    return restored, clean


def test_the_protocols_of_the_guide_exist():
    assert set(PROTOCOLS) == {
        "gaussian-color",
        "gaussian-gray",
        "all-in-one",
        "rain-y",
        "paired-rgb",
    }


@pytest.mark.parametrize("name", ["gaussian-color", "paired-rgb"])
def test_rgb_protocols_score_the_uint8_file(pair, name):
    restored, clean = pair
    file = np.rint(np.clip(restored.astype(np.float64), 0, 1) * 255).astype(np.uint8)
    target = np.rint(clean.astype(np.float64) * 255).astype(np.uint8)
    scores = protocol_named(name).score(restored, clean)
    assert scores.psnr == pytest.approx(psnr(file, target, data_range=255), abs=1e-9)
    assert scores.ssim == pytest.approx(ssim(file, target, data_range=255), abs=1e-9)


def test_all_in_one_scores_the_clipped_float_output_as_its_authors_do(pair):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    restored, clean = pair
    output = np.clip(restored, 0, 1)
    scores = protocol_named("all-in-one").score(restored, clean)
    # 1e-5: the authors' calls compute in float32
    assert scores.psnr == pytest.approx(
        peak_signal_noise_ratio(clean, output, data_range=1), abs=1e-5
    )
    assert scores.ssim == pytest.approx(
        structural_similarity(clean, output, data_range=1, channel_axis=2), abs=1e-5
    )


def test_rain_y_scores_rounded_luma_as_matlab_does(pair):
    restored, clean = pair
    weights = np.array([65.481, 128.553, 24.966]) / 255
    luma = [
        np.rint(np.rint(np.clip(image.astype(np.float64), 0, 1) * 255) @ weights + 16)
        for image in pair
    ]
    expected = 20 * math.log10(255 / math.sqrt(np.mean((luma[0] - luma[1]) ** 2)))
    scores = protocol_named("rain-y").score(restored, clean)
    assert scores.psnr == pytest.approx(expected, abs=1e-9)
    assert scores.ssim == pytest.approx(ssim(*luma, data_range=255), abs=1e-9)


def test_gray_scores_the_mean_of_the_channels_rounded_on_one_channel(pair):
    restored, clean = pair
    gray = np.repeat(clean[..., :1], 3, axis=2)
    # The mean first, then clipping and rounding: a channel above white counts in full.
    file = np.rint(np.clip(restored.astype(np.float64).mean(axis=2), 0, 1) * 255)
    target = np.rint(gray[..., 0].astype(np.float64) * 255)
    scores = protocol_named("gaussian-gray").score(restored, gray)
    assert scores.psnr == pytest.approx(psnr(file, target, data_range=255), abs=1e-9)
    assert scores.ssim == pytest.approx(ssim(file, target, data_range=255), abs=1e-9)


def test_rounding_separates_the_two_noise_protocols(pair):
    _, clean = pair
    almost = clean + np.float32(0.4 / 255)  # 8-bit rounding hides this, the float protocol sees it
    inside = np.clip(almost, 0, 1)
    assert protocol_named("gaussian-color").score(inside, clean).psnr == math.inf
    assert protocol_named("all-in-one").score(inside, clean).psnr < 60


@pytest.mark.parametrize(
    ("size", "expected"), [((321, 481), (320, 480)), ((48, 64), (48, 64)), ((47, 31), (32, 16))]
)
def test_all_in_one_crops_the_centre_to_sixteen(size, expected):
    image = np.zeros((*size, 3), np.float32)
    top, left = ((side % 16) // 2 for side in size)
    image[top, left] = 1
    cropped = protocol_named("all-in-one").crop(image)
    assert cropped.shape[:2] == expected
    assert cropped[0, 0, 0] == 1


def test_output_that_is_not_finite_is_an_error(pair):
    restored, clean = pair
    restored[3, 4, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        protocol_named("rain-rgb").score(restored, clean)


def test_an_unknown_protocol_names_the_known_ones():
    with pytest.raises(InputError, match="gaussian-color"):
        protocol_named("gaussian")


def test_descriptions_tell_protocols_apart():
    texts = {name: tuple(p.describe().values()) for name, p in PROTOCOLS.items()}
    assert len(set(texts.values())) == len(texts)


def test_rain_and_pairs_are_one_protocol_under_two_names():
    assert protocol_named("rain-rgb") is protocol_named("paired-rgb")
