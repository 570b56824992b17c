import numpy as np
import pytest

from unveil.evaluation import EvaluationImage
from unveil.evaluation.crops import crop_path, save_crop, worst_window
from unveil.imaging import load_rgb


@pytest.mark.parametrize("corner", [(0, 0), (48, 16), (56, 72)])
def test_the_window_holds_the_error(corner):
    clean = np.zeros((64, 80, 3), np.float32)
    restored = clean.copy()
    top, left = corner
    restored[top : top + 8, left : left + 8] = 1
    rows, columns = worst_window(restored, clean, 16)
    assert np.square(restored[rows, columns]).sum() == np.square(restored).sum()


@pytest.mark.parametrize("size", [(67, 83), (65, 79), (17, 18)])
def test_the_window_reaches_every_rim(size):
    clean = np.zeros((*size, 3), np.float32)
    restored = clean.copy()
    restored[-1, -1] = 1
    assert worst_window(restored, clean, 16) == tuple(slice(n - 16, n) for n in size)


@pytest.mark.parametrize("size", [(5, 40), (40, 5), (7, 7)])
def test_small_images_are_shown_whole(size):
    image = np.zeros((*size, 3), np.float32)
    window = worst_window(image, image, 16)
    assert image[window].shape[:2] == tuple(min(side, 16) for side in size)


def test_a_strip_shows_degraded_restored_clean(tmp_path):
    degraded, restored, clean = (np.full((20, 24, 3), v, np.float32) for v in (1.5, 0.5, 0))
    save_crop(tmp_path, "σ", EvaluationImage("a/b?", degraded, clean), restored)
    strip = load_rgb(crop_path(tmp_path, "σ", "a/b?"))
    assert strip.shape == (20, 3 * 24 + 8, 3)
    assert [int(strip[10, x, 0]) for x in (5, 33, 70)] == [255, 128, 0]
