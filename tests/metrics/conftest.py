import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def pair(rng):
    """A smooth image with texture, and a noisy one, (h, w, 3) float64 in [0, 1]."""
    y, x = np.mgrid[0:47, 0:62] / 20
    clean = np.stack([np.sin(x + k) * np.cos(y * k) for k in range(1, 4)], axis=-1) / 2 + 0.5
    clean = np.clip(clean + 0.05 * rng.standard_normal(clean.shape), 0, 1)
    return np.clip(clean + 0.1 * rng.standard_normal(clean.shape), 0, 1), clean
