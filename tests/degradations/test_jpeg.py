"""JPEG is the library's, and its grid starts at the image's corner."""

import io

import numpy as np
import pytest

from unveil.degradations import parse


def _waves():
    y, x = np.mgrid[:64, :80]
    planes = [np.sin(x / 5 + k) + np.cos(y / (7 + k)) for k in range(3)]
    return (0.5 + 0.2 * np.stack(planes, axis=2)).astype(np.float32)


@pytest.mark.parametrize("quality", [10, 50])
def test_compression_agrees_with_pillow(quality):
    pillow = pytest.importorskip("PIL.Image")
    image = _waves()
    levels = np.rint(image * 255).astype(np.uint8)
    buffer = io.BytesIO()
    pillow.fromarray(levels).save(buffer, "jpeg", quality=quality)
    reference = np.asarray(pillow.open(buffer)).astype(np.float64) / 255
    ours = parse(f"jpeg:quality={quality}")(image, np.random.default_rng(0))
    ours_error, reference_error = (np.mean((x - image) ** 2) for x in (ours, reference))
    # The same quantisation tables; optimised Huffman codes and rounding change no more than this.
    assert ours_error == pytest.approx(reference_error, rel=0.1)


def test_values_outside_the_range_are_clipped_first():
    image = np.full((16, 16, 3), 1.7, np.float32)
    degraded = parse("jpeg:quality=90")(image, np.random.default_rng(0))
    assert np.allclose(degraded, 1, atol=2 / 255)
