"""A widget for napari: restore an image layer (`napari.yaml` beside the package declares it)."""

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from unveil.imaging.image import Array

Model = Literal["mtair_small", "cu_mamba_small"]


def restore_layer(
    image: "napari.types.ImageData",  # type: ignore[name-defined]  # noqa: F821 (for magicgui)
    model: Model = "mtair_small",
    strength: float = 1.0,
) -> "napari.types.ImageData":  # type: ignore[name-defined]  # noqa: F821
    """Return a restored copy of an image layer.

    Args:
        image: ``(h, w)`` or ``(h, w, 3)``, or a stack ``(n, h, w)`` of grey images; 8 or 16 bits,
            or floats, which are scaled to [0, 1] by their range while they are restored.
        model: The network's id.
        strength: Share of the change that is applied, 0 to 1.

    >>> restore_layer(np.zeros((8, 9), np.uint8), "cu_mamba_small").shape
    (8, 9)
    """
    from unveil.inference.restorer import Restorer  # noqa: PLC0415 (napari imports this at start)

    restorer = Restorer(model, strength=strength)
    pixels = np.asarray(image)
    stack = pixels.ndim == 3 and pixels.shape[-1] not in (3, 4)
    frames = [_restored(restorer, frame) for frame in (pixels if stack else [pixels])]
    return np.stack(frames) if stack else frames[0]


def _restored(restorer: object, pixels: "Array") -> "Array":
    if pixels.dtype.kind != "f":
        restored: Array = restorer(pixels)  # type: ignore[operator]
        return restored
    low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
    span = high - low or 1.0
    scaled = ((pixels - low) / span).astype(np.float32)
    made: Array = restorer(scaled)  # type: ignore[operator]
    return (made * span + low).astype(pixels.dtype)
