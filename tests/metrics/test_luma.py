import numpy as np
import pytest

from unveil.errors import InputError
from unveil.metrics import rgb_to_y

# round(16 + 65.481 R + 128.553 G + 24.966 B) of the primaries, as MATLAB's rgb2ycbcr gives
PRIMARIES = {
    (0, 0, 0): 16,
    (255, 255, 255): 235,
    (255, 0, 0): 81,
    (0, 255, 0): 145,
    (0, 0, 255): 41,
    (255, 255, 0): 210,
    (128, 128, 128): 126,
}


@pytest.mark.parametrize("rgb", PRIMARIES)
def test_luma_of_the_primaries_is_matlabs(rgb):
    image = np.array(rgb, np.uint8).reshape(1, 1, 3)
    assert np.rint(rgb_to_y(image, data_range=255)).item() == PRIMARIES[rgb]


def test_luma_agrees_with_scikit_image(rng):
    from skimage.color import rgb2ycbcr

    image = rng.random((17, 23, 3))
    expected = rgb2ycbcr(image)[..., 0]
    np.testing.assert_allclose(255 * rgb_to_y(image, data_range=1), expected, atol=1e-10)


def test_luma_scales_with_the_range(rng):
    image = rng.random((5, 6, 3))
    np.testing.assert_allclose(
        rgb_to_y(image * 255, data_range=255), 255 * rgb_to_y(image, data_range=1), rtol=1e-14
    )


def test_gray_is_refused():
    with pytest.raises(InputError, match=r"\(4, 4\)"):
        rgb_to_y(np.zeros((4, 4)), data_range=1)
