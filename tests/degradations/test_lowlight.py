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


@pytest.mark.parametrize("strength", [1, 4])
def test_the_noise_is_the_sensors(strength):
    gray = np.full((200, 200, 3), 0.6, np.float32)
    light = float(to_linear(gray).mean()) / 4
    dark = parse(f"lowlight:ev=-2,noise={strength}")(gray, np.random.default_rng(0))
    expected = np.sqrt(0.0006 * strength**2 * light + (0.0012 * strength) ** 2)
    assert to_linear(dark).std() == pytest.approx(expected, rel=0.03)
