import math

import numpy as np
import pytest

from unveil.errors import DataError, InputError
from unveil.evaluation import Case, evaluation_images, find_test_set, make_cases, protocol_named
from unveil.imaging import load_rgb, save_png
from unveil.metrics import psnr


def _samples(folder, protocol, case, seed=0, **options):
    chosen = protocol_named(protocol)
    return list(
        evaluation_images(find_test_set(folder, chosen, **options), chosen, case, seed=seed)
    )


def test_float_noise_is_the_published_codes(clean_folder):
    # Restormer and KAIR: np.random.seed(0) before each image, normal(0, σ/255) added in float
    for sample in _samples(clean_folder, "gaussian-color", Case(sigma_255=25)):
        np.random.seed(0)  # noqa: NPY002
        image = np.float32(load_rgb(clean_folder / f"{sample.name}.png")) / 255.0
        image += np.random.normal(0, 25 / 255.0, image.shape)  # noqa: NPY002
        np.testing.assert_array_equal(sample.degraded, image)


def test_gray_noise_is_the_published_codes(clean_folder):
    # DnCNN's test in KAIR: seed 0 before each image, one channel
    for sample in _samples(clean_folder, "gaussian-gray", Case(sigma_255=25)):
        colour = load_rgb(clean_folder / f"{sample.name}.png")
        gray = np.rint(colour @ np.array([0.299, 0.587, 0.114]))
        np.random.seed(0)  # noqa: NPY002
        image = np.float32(gray / 255.0)[..., None]
        noisy = np.float32(image + np.random.normal(0, 25 / 255.0, image.shape))  # noqa: NPY002
        assert sample.clean.shape == sample.degraded.shape == colour.shape
        for channel in range(3):
            np.testing.assert_allclose(sample.degraded[..., channel], noisy[..., 0], atol=1e-6)
            np.testing.assert_allclose(sample.clean[..., channel] * 255, gray, atol=1e-4)


def test_gray_files_stay_as_they_are(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8)
    save_png(tmp_path / "gray.png", np.repeat(levels[..., None], 3, axis=2))
    (sample,) = _samples(tmp_path, "gaussian-gray", Case(sigma_255=0))
    np.testing.assert_array_equal(np.rint(sample.degraded * 255)[..., 1], levels)


def test_uint8_noise_is_the_published_codes(clean_folder):
    # AirNet and PromptIR: one stream, clip, truncate; images in the order of their names
    np.random.seed(0)  # noqa: NPY002
    for sample in _samples(clean_folder, "all-in-one", Case(sigma_255=50)):
        clean = load_rgb(clean_folder / f"{sample.name}.png")[4:36, 4:52]
        noise = np.random.randn(*clean.shape)  # noqa: NPY002
        noisy = np.clip(clean + noise * 50, 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(np.rint(sample.degraded * 255), noisy)
        np.testing.assert_array_equal(np.rint(sample.clean * 255), clean)


@pytest.mark.parametrize(
    ("protocol", "case"),
    [
        ("gaussian-color", Case(sigma_255=15)),
        ("all-in-one", Case(sigma_255=15)),
        ("rain-rgb", Case(degradation="noise:sigma_255=0..50+jpeg:quality=20")),
    ],
)
def test_samples_depend_on_the_seed_alone(clean_folder, protocol, case):
    synthetic = {"clean_only": case.degradation is not None}
    first, again, other = (
        [s.degraded for s in _samples(clean_folder, protocol, case, seed, **synthetic)]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert all((one != two).any() for one, two in zip(first, other, strict=True))


def test_synthetic_degradations_do_not_depend_on_the_neighbours(clean_folder):
    case = Case(degradation="noise:sigma_255=25")
    before = _samples(clean_folder, "paired-rgb", case, clean_only=True)
    (clean_folder / "2.png").unlink()
    after = _samples(clean_folder, "paired-rgb", case, clean_only=True)
    np.testing.assert_array_equal(before[1].degraded, after[0].degraded)


def test_equal_images_of_different_names_are_degraded_differently(clean_folder):
    (clean_folder / "10.png").write_bytes((clean_folder / "2.png").read_bytes())
    one, other, _ = _samples(
        clean_folder, "paired-rgb", Case(degradation="noise:sigma_255=25"), clean_only=True
    )
    np.testing.assert_array_equal(one.clean, other.clean)
    noise = [(sample.degraded - sample.clean).ravel() for sample in (one, other)]
    assert abs(np.corrcoef(noise)[0, 1]) < 0.1


def test_pairs_come_as_they_are(paired_folder):
    for sample in _samples(paired_folder, "paired-rgb", Case()):
        assert psnr(sample.degraded, sample.clean, data_range=1) == pytest.approx(
            20 * math.log10(255 / 10), abs=1e-4
        )


def test_sixteen_bits_keep_their_precision(tmp_path):
    values = np.arange(16 * 16 * 3, dtype=np.uint16).reshape(16, 16, 3) * 80
    save_png(tmp_path / "deep.png", values)
    (sample,) = _samples(tmp_path, "gaussian-color", Case(sigma_255=0))
    np.testing.assert_array_equal(np.rint(sample.clean * 65535), values)


def test_a_pair_of_two_sizes_is_an_error(paired_folder):
    save_png(paired_folder / "input" / "1.png", np.zeros((40, 55, 3), np.uint8))
    with pytest.raises(DataError, match="55×40"):
        _samples(paired_folder, "paired-rgb", Case())


def test_images_below_the_crop_are_an_error(tmp_path):
    save_png(tmp_path / "small.png", np.zeros((15, 40, 3), np.uint8))
    with pytest.raises(DataError, match="40×15"):
        _samples(tmp_path, "all-in-one", Case(sigma_255=25))


def test_cases_are_read_from_the_command_line():
    assert make_cases(["15,25", " 50"], []) == [Case(15), Case(25), Case(50)]
    assert make_cases([], ["rain:heavy"]) == [Case(degradation="rain:heavy")]
    assert make_cases([], []) == [Case()]


@pytest.mark.parametrize("sigmas", [["many"], ["15,15"]])
def test_levels_that_make_no_sense_are_refused(sigmas):
    with pytest.raises(InputError):
        make_cases(sigmas, [])


@pytest.mark.parametrize("sigma_255", [15, 25, 50])
def test_float_noise_on_cbsd68_has_the_psnr_of_its_level(unveil_data, sigma_255):
    # 20·log10(255/25) = 20.17 dB before anything is clipped or rounded; ±0.02: sampling error
    scores = [
        psnr(sample.degraded, sample.clean, data_range=1)
        for sample in _samples(unveil_data / "cbsd68", "gaussian-color", Case(sigma_255=sigma_255))
    ]
    assert len(scores) == 68
    assert np.mean(scores) == pytest.approx(20 * math.log10(255 / sigma_255), abs=0.02)
