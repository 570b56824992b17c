"""How much of a network's change is applied, apart for luminance and for colour."""

from dataclasses import dataclass
from numbers import Real

import numpy as np

from unveil.errors import InputError
from unveil.inference.samples import Array

# ITU-R BT.601, 2.5.1: the share of each primary in the luminance of encoded samples.
LUMA_WEIGHTS = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Strength:
    """Shares of the change, 0–1.

    Attributes:
        luma: Of what changes luminance.
        chroma: Of what changes colour at the same luminance; gray images have none.

    Raises:
        InputError: If one is not a number from 0 to 1.
    """

    luma: float = 1.0
    chroma: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("luma", self.luma), ("chroma", self.chroma)):
            _require_share(f"strength_{name}", value)

    @classmethod
    def of(
        cls, strength: float = 1.0, luma: float | None = None, chroma: float | None = None
    ) -> "Strength":
        """Return the strength that the three options mean.

        Args:
            strength: For what the others leave open.
            luma: Of luminance; None takes `strength`.
            chroma: Of colour; None takes `strength`.

        Raises:
            InputError: If one is not a number from 0 to 1.

        >>> Strength.of(0.5, chroma=1)
        Strength(luma=0.5, chroma=1.0)
        """
        _require_share("strength", strength)
        given = [strength if value is None else value for value in (luma, chroma)]
        for name, value in zip(("luma", "chroma"), given, strict=True):
            _require_share(f"strength_{name}", value)
        return cls(*map(float, given))

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


def _require_share(name: str, value: object) -> None:
    if not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise InputError(f"{name} is 0 to 1, got {value!r}")
