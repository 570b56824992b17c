"""Photos to try: clean ones the package brings, and what is done to them."""

import hashlib
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from unveil.degradations import parse
from unveil.imaging import load_rgb, save_png
from unveil.imaging.convert import to_uint8, to_unit
from unveil.imaging.image import Array
from unveil.serve.preview import reduced

# Height and width of the small pictures.
_THUMB = (144, 192)
_FOLDER = Path(__file__).parent / "sample_images"


@dataclass(frozen=True)
class SampleImage:
    """A photo to try; `unveil.serve.forms.SampleInfo` describes what clients see of it.

    Attributes:
        file: Its clean file.
        focus: Where its small picture begins, as shares of height and width.
    """

    id: str
    file: str
    title: str
    about: str
    degradation: str = ""
    task: str = "auto"
    focus: tuple[float, float] = (0.25, 0.3)

    def content(self) -> bytes:
        """Return the file as a user would upload it."""
        if not self.degradation:
            return (_FOLDER / self.file).read_bytes()
        return png(self.picture())

    def thumbnail(self) -> bytes:
        """Return a small PNG of it: its middle at full size, where the damage can be seen."""
        return _thumbnail(self)

    def picture(self) -> Array:
        """Return it as ``(h, w, 3)`` floats; noise may leave [0, 1]."""
        clean = to_unit(load_rgb(_FOLDER / self.file))
        seed = int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:4], "big")
        return parse(self.degradation)(clean, np.random.default_rng(seed))


SAMPLES = (
    SampleImage("noisy-cat", "chelsea.jpg", "Noise", "A cat, noise of σ 35",
           "noise:sigma_255=35", "denoise"),
    SampleImage("grainy-portrait", "astronaut.jpg", "Grain", "A portrait at high ISO",
           "camera:shot=0.01,read=0.008", "denoise", (0.08, 0.27)),
    SampleImage("rainy-coffee", "coffee.jpg", "Rain", "A cup of coffee, light rain",
           "rain:light", "derain"),
    SampleImage("hazy-rocket", "rocket.jpg", "Haze", "A launch in haze", "haze:light", "dehaze"),
)  # fmt: skip
CLEAN = (
    SampleImage("cat", "chelsea.jpg", "Cat", "A cat"),
    SampleImage("portrait", "astronaut.jpg", "Portrait", "A portrait"),
    SampleImage("coffee", "coffee.jpg", "Coffee", "A cup of coffee"),
    SampleImage("rocket", "rocket.jpg", "Rocket", "A launch"),
)


@lru_cache(maxsize=16)
def _thumbnail(sample: SampleImage) -> bytes:
    picture = sample.picture()
    height, width = _THUMB
    if sample.degradation:
        # Reduced, a photo shows no noise.
        top, left = (int(at * s) for at, s in zip(sample.focus, picture.shape, strict=False))
        return png(picture[top : top + height, left : left + width])
    return png(reduced(to_uint8(picture), max(1, picture.shape[0] // height)))


def png(picture: Array) -> bytes:
    """Return ``(h, w, 3)`` samples of any type as a PNG file of 8 bits."""
    with tempfile.TemporaryDirectory(prefix="unveil-") as folder:
        file = Path(folder) / "picture.png"
        save_png(file, to_uint8(picture))
        return file.read_bytes()
