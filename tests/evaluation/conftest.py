import numpy as np
import pytest

from unveil.imaging import save_png


def picture(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    """A smooth uint8 picture with some texture, (h, w, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 15
    waves = [np.sin(x * (k + 1) + seed) * np.cos(y + k) for k in range(3)]
    image = 128 + 90 * np.stack(waves, axis=-1) + 6 * rng.standard_normal((height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture
def clean_folder(tmp_path):
    """Three clean pictures: 2.png, 10.png and 11.png."""
    folder = tmp_path / "clean_set"
    folder.mkdir()
    for seed, name in enumerate(("2", "10", "11")):
        save_png(folder / f"{name}.png", picture(seed))
    return folder


@pytest.fixture
def paired_folder(tmp_path):
    """Two pairs in input/ and target/; the inputs are 10 grey levels darker."""
    folder = tmp_path / "pairs"
    for part in ("input", "target"):
        (folder / part).mkdir(parents=True)
    for seed in range(2):
        clean = np.maximum(picture(seed), 10)
        save_png(folder / "target" / f"{seed}.png", clean)
        save_png(folder / "input" / f"{seed}.png", clean - 10)
    return folder
