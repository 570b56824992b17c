"""Training losses, and the short notation that adds them up: ``charbonnier + 0.1*fft``.

Every term is a mean over pixels, so that its size does not depend on the patch, and every term is a
mean over images, so that a batch split into equal parts has the same gradient as the whole. All
take the arguments of `charbonnier`.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from unveil.errors import RecipeError
from unveil.training.units import Spelled

CHARBONNIER_EPSILON = 1e-3
# Above 50 dB an image's gradient grows no more: clean inputs would outweigh all others.
PSNR_CEILING = 50.0
# For the first steps. With 50 dB every change costs clean inputs more than it gains the others, and
# the network stays at the identity.
EARLY_PSNR_CEILING = 35.0
# Rows or columns that `bands` averages over; even.
_STRIP = 32


def charbonnier(restored: Tensor, clean: Tensor) -> Tensor:
    """Return the mean of sqrt(difference² + ε), ε = 1e-3.

    Args:
        restored: ``(b, c, h, w)``, nominal range [0, 1].
        clean: ``(b, c, h, w)``, same shape and range.

    Source: CU-Mamba (arXiv 2404.11778), the loss's first term; mean per pixel is our reading.

    >>> round(charbonnier(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)).item(), 4)
    0.0316
    """
    squares = (restored - clean).square()
    return torch.sqrt(squares + CHARBONNIER_EPSILON).mean()


def fft(restored: Tensor, clean: Tensor) -> Tensor:
    """Return the mean modulus of the difference's orthonormal 2-D Fourier coefficients.

    The arguments are those of `charbonnier`.

    The half spectrum is enough for a real image: its inner columns stand for two of the full one.

    Source: CU-Mamba (arXiv 2404.11778), the loss's second term, with `norm="ortho"`.

    >>> x = torch.rand(1, 3, 6, 5)
    >>> full = torch.fft.fft2(x, norm="ortho").abs().mean()
    >>> torch.allclose(fft(x, torch.zeros_like(x)), full)
    True
    """
    width = restored.shape[-1]
    modulus = torch.fft.rfft2((restored - clean).float(), norm="ortho").abs()
    columns = modulus.sum(dim=(0, 1, 2))
    weights = columns.new_full(columns.shape, 2.0)
    weights[0] = 1.0
    if width % 2 == 0:
        weights[-1] = 1.0
    return torch.dot(weights, columns) / restored.numel()


def l1(restored: Tensor, clean: Tensor) -> Tensor:
    """Return the mean absolute difference, see `charbonnier`.

    Source: MTAIR (arXiv 2412.15845), training.

    >>> l1(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)).item()
    1.0
    """
    return (restored - clean).abs().mean()


def mse(restored: Tensor, clean: Tensor) -> Tensor:
    """Return the mean squared difference, see `charbonnier`.

    >>> mse(torch.full((1, 3, 2, 2), 2.0), torch.zeros(1, 3, 2, 2)).item()
    4.0
    """
    return (restored - clean).square().mean()


def psnr(restored: Tensor, clean: Tensor, ceiling: float = PSNR_CEILING) -> Tensor:
    """Return minus the PSNR in dB, averaged over images: what the tables are scored by.

    Args:
        restored: As for `charbonnier`.
        clean: Likewise.
        ceiling: PSNR in dB above which an image's gradient grows no more.

    >>> round(psnr(torch.full((1, 3, 2, 2), 0.1), torch.zeros(1, 3, 2, 2)).item(), 2)
    -20.0
    """
    error = (restored - clean).square().mean(dim=(1, 2, 3))
    return (10.0 / math.log(10.0)) * torch.log(error + 10.0 ** (-ceiling / 10.0)).mean()


def psnr35(restored: Tensor, clean: Tensor) -> Tensor:
    """Return `psnr` with its ceiling at 35 dB, for the first steps on several tasks.

    Under L1 haze, whose errors are ten times those of noise, dominates the gradient. The network
    then removes a little haze from clean images, too.

    >>> round(psnr35(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)).item(), 2)
    -35.0
    """
    return psnr(restored, clean, EARLY_PSNR_CEILING)


def bands(restored: Tensor, clean: Tensor) -> Tensor:
    """Return how much the difference bands along rows and columns, see `charbonnier`.

    The difference is averaged over strips of 32 rows (then of 32 columns); from each strip's
    profile its moving average over 33 pixels is taken away (the profile's ends are repeated), and
    what is left is averaged in absolute value. A band of half a grey level is lost in the other
    terms, but plain to see in an even sky.

    >>> even = torch.zeros(1, 3, 64, 64)
    >>> banded = even.clone()
    >>> banded[..., ::2] = 0.1
    >>> bands(even + 0.3, even).item() < 1e-6, bands(banded, even).item() > 0.04
    (True, True)
    """
    difference = restored - clean
    return _band(difference) + _band(difference.transpose(2, 3))


def _band(difference: Tensor) -> Tensor:
    strip = min(_STRIP, difference.shape[2])
    profile = F.avg_pool2d(difference, (strip, 1))
    padded = F.pad(profile, (_STRIP // 2, _STRIP // 2, 0, 0), mode="replicate")
    return (profile - F.avg_pool2d(padded, (1, _STRIP + 1), 1)).abs().mean()


_TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bands": bands,
    "charbonnier": charbonnier,
    "fft": fft,
    "l1": l1,
    "mse": mse,
    "psnr": psnr,
    "psnr35": psnr35,
}
_LONGEST = 500
_TERM = re.compile(r"(?:(\d+(?:\.\d*)?(?:e-?\d+)?|\.\d+)\s*\*\s*)?([a-z0-9_]+)")


@dataclass(frozen=True)
class Loss(Spelled):
    """A weighted sum of loss terms.

    Attributes:
        terms: Pairs of weight and name.
        text: The notation it was read from.
    """

    terms: tuple[tuple[float, str], ...]
    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a loss from its notation: terms joined by ``+``, each with an optional weight.

        Args:
            text: E.g. ``charbonnier + 0.1*fft``. Terms: bands, charbonnier, fft, l1, mse, psnr,
                psnr35.

        Raises:
            RecipeError: A term is unknown or the notation is wrong.

        >>> Loss.parse("charbonnier + 0.1*fft").terms
        ((1.0, 'charbonnier'), (0.1, 'fft'))
        """
        terms = []
        if len(text) > _LONGEST:
            raise RecipeError(f"a loss of {len(text):,} characters; expected a few terms")
        for part in text.split("+"):
            match = _TERM.fullmatch(part.strip())
            if match is None or match[2] not in _TERMS:
                known = ", ".join(sorted(_TERMS))
                raise RecipeError(f"unknown loss term {part.strip()!r} in {text!r}: use {known}")
            weight = float(match[1] or 1.0)
            if not math.isfinite(weight):
                raise RecipeError(f"the weight of {match[2]} in {text!r} is not finite")
            terms.append((weight, match[2]))
        return cls(tuple(terms), text)

    def __call__(self, restored: Tensor, clean: Tensor) -> Tensor:
        """Return the loss of ``(b, c, h, w)`` images as a scalar."""
        total = restored.new_zeros(())
        for weight, name in self.terms:
            total = total + weight * _TERMS[name](restored, clean)
        return total
