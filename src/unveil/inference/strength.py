"""How much of a network's change is applied, apart for luminance and for colour."""

from dataclasses import dataclass

import numpy as np

from unveil.imaging.image import Array

# ITU-R BT.601, 2.5.1: the share of each primary in the luminance of encoded samples.
LUMA_WEIGHTS = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Strength:
    """Shares of the change, 0–1.

    Attributes:
        luma: Of what changes luminance.
        chroma: Of what changes colour at the same luminance; gray images have none.

    Those of a user are checked by `unveil.inference.options.RestoreOptions`.
    """

    luma: float = 1.0
    chroma: float = 1.0

    def scaled(self, residual: Array) -> Array:
        """Return the part of a change that is applied.

        Args:
            residual: ``(h, w, c)`` floats, c 1 or 3.

        Returns:
            Same shape and type: ``chroma · r + (luma − chroma) · Y(r)`` with Y the BT.601
            luminance, which is linear, so that of the result is ``luma · Y(r)``.

        >>> change = np.array([[[0.3, 0.0, 0.0]]], np.float32)
        >>> bool(np.allclose(Strength(1.0, 0.0).scaled(change), 0.0897))
        True
        """
        if self.luma == self.chroma or residual.shape[-1] == 1:
            return np.asarray(self.luma * residual)
        weights = np.array(LUMA_WEIGHTS, residual.dtype)
        luminance = (residual * weights).sum(-1, keepdims=True)
        return np.asarray(self.chroma * residual + (self.luma - self.chroma) * luminance)

    def __str__(self) -> str:
        if self.luma == self.chroma:
            return f"{self.luma:g}"
        return f"luma {self.luma:g}, chroma {self.chroma:g}"
