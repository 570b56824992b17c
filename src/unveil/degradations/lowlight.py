"""Low light: a short exposure, its noise, and a darker tone curve."""

import numpy as np

from unveil.degradations.noise import to_linear, to_srgb
from unveil.degradations.records import Degradation, Image, Parameter

# Shot variance and read noise of a sensor at noise=1, in linear light.
_SHOT, _READ = 0.0006, 0.0012


def _darken(
    image: Image, rng: np.random.Generator, *, ev: float, gamma: float, noise: float
) -> Image:
    """Photograph the scene with less light.

    ``I = curve(2 ** ev * x + sqrt(shot * 2 ** ev * x + read ** 2) * n) ** gamma`` on linear light
    ``x``: fewer photons, the sensor's noise in full, and a tone curve that is darker yet if
    `gamma` is above 1. `noise` scales shot and read noise; 1 is a camera at a moderate setting.

    Source:
        The noise of Foi et al., IEEE TIP 2008, under the exposure model of Wei et al., "A
        physics-based noise formation model for extreme low-light raw denoising", CVPR 2020.

    >>> white = np.ones((4, 4, 3), np.float32)
    >>> dark = _darken(white, np.random.default_rng(0), ev=-3, gamma=1, noise=0)
    >>> round(float(to_linear(dark).mean()), 4)
    0.125
    """
    linear = to_linear(image) * np.float32(2.0**ev)
    if noise > 0:
        variance = np.float32(_SHOT * noise**2) * linear + np.float32((_READ * noise) ** 2)
        linear += np.sqrt(variance) * rng.standard_normal(image.shape, dtype=np.float32)
    dark = to_srgb(linear)
    return dark if gamma == 1 else dark ** np.float32(gamma)


LOWLIGHT = (
    Degradation(
        "lowlight",
        _darken,
        (
            Parameter("ev", -3, -10, 0, "exposure in stops"),
            Parameter("gamma", 1, 0.5, 4, "exponent after the tone curve"),
            Parameter("noise", 1, 0, 20, "strength of the sensor's noise"),
        ),
        about="a short exposure with a sensor's noise",
        strengths=("ev=-1.5", "ev=-3", "ev=-4.5,noise=1.5"),
    ),
)
