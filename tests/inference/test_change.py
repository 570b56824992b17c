"""A change that is kept gives, at any strength, what the restorer makes of the image at once."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import unveil
from unveil.imaging import Image
from unveil.inference import Restorer
from unveil.inference.change import change_of, with_change
from unveil.inference.strength import Strength

_RNG = np.random.default_rng(8)


def _images() -> Iterator[Image]:
    yield Image(_RNG.integers(0, 256, (41, 300, 3), dtype=np.uint8))
    alpha = np.where(np.arange(50) < 25, 255, 0)[None].repeat(40, 0).astype(np.uint8)
    yield Image(_RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8), alpha)
    yield Image((_RNG.random((300, 30, 3)) * 255).astype(np.float32), bits=32, white=255.0)
    yield Image(np.repeat(_RNG.integers(0, 65536, (30, 30, 1), dtype=np.uint16), 3, 2), bits=16)
    yield Image(_RNG.integers(0, 256, (9, 8, 1), dtype=np.uint8), np.zeros((9, 8), np.uint8))


@pytest.mark.parametrize("strength", [Strength(), Strength(0.6, 0.6), Strength(0.2, 0.9)])
@pytest.mark.parametrize("image", [*_images()], ids=["rgb", "hidden", "scaled", "gray", "unseen"])
def test_each_kind_of_image(image: Image, strength: Strength) -> None:
    torch.manual_seed(0)
    network = unveil.create_model("cu_mamba_tiny")
    for parameter in network.parameters():
        parameter.data += 0.01
    shares = {"strength_luma": strength.luma, "strength_chroma": strength.chroma}
    expected = Restorer(network, **shares).restore_image(image)
    change = np.zeros(image.pixels.shape, np.float32)
    change_of(Restorer(network), image, change)
    made = with_change(image, change, strength)
    np.testing.assert_array_equal(made.pixels, expected.pixels)
    kept = with_change(image, change, strength, np.zeros((2, 1), np.uint8))
    np.testing.assert_array_equal(kept.pixels, image.pixels)
