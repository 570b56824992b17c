"""JPEG compression."""

import numpy as np

from unveil.degradations.records import Degradation, Image, Parameter
from unveil.imaging.convert import to_uint8, to_unit


def _compress_jpeg(image: Image, rng: np.random.Generator, *, quality: float) -> Image:  # noqa: ARG001
    """Encode to JPEG in memory and decode again.

    The image is clipped and rounded to 8 bits first. Chroma is subsampled below quality 90, as
    cameras and web sites do.

    Source: ITU-T T.81.

    >>> ramp = np.linspace(0, 1, 64, dtype=np.float32)[None, :, None] * np.ones((64, 1, 3), "f")
    >>> coarse = _compress_jpeg(ramp, np.random.default_rng(0), quality=5)
    >>> 0.005 < float(np.abs(coarse - ramp).mean()) < 0.1
    True
    """
    import pyvips  # type: ignore[import-untyped]  # noqa: PLC0415

    levels = to_uint8(image)
    height, width, bands = levels.shape
    source = pyvips.Image.new_from_memory(levels.data, width, height, bands, "uchar")
    source = source.copy(interpretation="srgb")
    data = source.jpegsave_buffer(Q=int(quality))
    decoded = np.asarray(pyvips.Image.jpegload_buffer(data).numpy())
    return to_unit(decoded)


JPEG = (
    Degradation(
        "jpeg",
        _compress_jpeg,
        (Parameter("quality", 30, 1, 100, "libjpeg's quality", integer=True),),
        about="JPEG compression",
        strengths=("quality=40", "quality=20", "quality=10"),
    ),
)
