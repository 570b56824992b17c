"""What scores were measured on keeps its pixels."""

from pathlib import Path

import numpy as np
import pytest

from unveil.degradations import Frame, parse

# Every eighth pixel, as version 2a6cea0 made them.
_REFERENCES = Path(__file__).parent / "references" / "presets.npz"


def _photo(height=96, width=128):
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [0.5 + 0.4 * np.sin(x / a + y / b) for a, b in ((9, 14), (11, 6), (5, 17))]
    return np.stack(waves, axis=2).astype(np.float32)


@pytest.mark.parametrize("preset", ["rain:light", "rain:heavy", "haze:light", "haze:heavy"])
def test_presets_for_scoring_keep_their_pixels(preset):
    with np.load(_REFERENCES) as references:
        for seed in (0, 1, 2):
            degraded = parse(preset)(_photo(), np.random.default_rng(seed))
            # Floating point may differ in its last digits between processors.
            np.testing.assert_allclose(
                degraded[::8, ::8], references[f"{preset}/{seed}"], rtol=0, atol=2e-6
            )
        crop = parse(preset)(_photo(), np.random.default_rng(7), Frame(40, 60, 300, 400))
        np.testing.assert_allclose(crop[::8, ::8], references[f"{preset}/crop"], rtol=0, atol=2e-6)
