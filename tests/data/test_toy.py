"""The toy set is reproducible and looks like photos to a denoiser."""

import numpy as np
import pytest

from unveil.data import check_sources, clean_source, write_toy_set
from unveil.data.toy import draw_picture
from unveil.errors import InputError, OutputError


def test_the_set_passes_the_check(tmp_path):
    files = write_toy_set(tmp_path, count=3, test_count=2, size=48)
    assert [path.relative_to(tmp_path).as_posix() for path in files][2:4] == [
        "train/toy_002.png",
        "test/toy_000.png",
    ]
    report = check_sources([clean_source(tmp_path, "identity")], min_size=48)
    assert report.problems == ()
    assert report.samples == 5


def test_the_same_seed_draws_the_same_pictures():
    first, second, other = (draw_picture(40, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_pictures_have_the_spectrum_of_photos():
    """Amplitude falls about like one over frequency: a slope of -2 in power, -1 to -3 here."""
    power = np.zeros((128, 128))
    for seed in range(6):
        luma = draw_picture(128, np.random.default_rng(seed)).mean(axis=2)
        luma -= luma.mean()
        power += np.abs(np.fft.fft2(luma * np.outer(np.hanning(128), np.hanning(128)))) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    rings = [(0.03 * 1.5**k, 0.03 * 1.5 ** (k + 1)) for k in range(6)]
    means = [power[(frequency >= low) & (frequency < high)].mean() for low, high in rings]
    slope = np.polyfit(np.log([low for low, _ in rings]), np.log(means), 1)[0]
    assert -3 < slope < -1


def test_existing_pictures_are_kept_unless_forced(tmp_path):
    write_toy_set(tmp_path, count=1, test_count=0, size=16)
    with pytest.raises(OutputError, match="already there"):
        write_toy_set(tmp_path, count=1, test_count=0, size=16)
    write_toy_set(tmp_path, count=1, test_count=0, size=16, force=True)


@pytest.mark.parametrize("options", [{"count": 0}, {"size": 4}, {"test_count": -1}])
def test_impossible_sets_are_refused(tmp_path, options):
    with pytest.raises(InputError):
        write_toy_set(tmp_path, **options)
