"""A short exposure follows the camera model."""

import numpy as np
import pytest

from unveil.degradations import parse
from unveil.degradations.noise import to_linear

WHITE = np.full((256, 256, 3), 0.7, np.float32)


@pytest.mark.parametrize("ev", [0, -1, -4.5])
def test_each_stop_halves_the_light(ev):
    dark = parse(f"lowlight:ev={ev},noise=0")(WHITE, np.random.default_rng(0))
    ratio = to_linear(dark).mean() / to_linear(WHITE).mean()
    assert ratio == pytest.approx(2**ev, rel=1e-3)


def test_gamma_darkens_after_the_tone_curve():
    plain = parse("lowlight:ev=-1,noise=0")(WHITE, np.random.default_rng(0))
    steep = parse("lowlight:ev=-1,noise=0,gamma=2")(WHITE, np.random.default_rng(0))
    assert np.allclose(steep, plain**2, atol=1e-6)


def test_less_light_leaves_a_worse_signal_to_noise_ratio():
    ratios = []
    for ev in (-1, -3, -5):
        linear = to_linear(parse(f"lowlight:ev={ev}")(WHITE, np.random.default_rng(0)))
        ratios.append(linear.mean() / linear.std())
    assert ratios == sorted(ratios, reverse=True)
