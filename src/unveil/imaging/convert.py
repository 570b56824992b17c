"""The only place where the type or the scale of samples changes.

Integers use the whole range of their type, from black to white; floats have white at 1. Values are
rounded to the nearest integer, halves to the even one. `tests/test_one_place.py` refuses such
conversions elsewhere.
"""

import numpy as np
import numpy.typing as npt

from unveil.imaging.formats import Format
from unveil.imaging.image import Array


def full_scale(dtype: npt.DTypeLike) -> float:
    """Return the sample value that stands for 1.0.

    >>> full_scale("uint16"), full_scale(np.float32)
    (65535.0, 1.0)
    """
    dtype = np.dtype(dtype)
    return float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0


def to_unit(samples: Array) -> npt.NDArray[np.float32]:
    """Return samples as float32 in [0, 1]; floats keep their values, clipped nowhere.

    >>> to_unit(np.array([0, 65535], np.uint16)).tolist()
    [0.0, 1.0]
    """
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    return np.asarray(samples.astype(np.float32) / np.float32(full_scale(samples.dtype)))


def to_integers(samples: Array, dtype: npt.DTypeLike) -> Array:
    """Return samples as integers of another range; those of that type already are not copied.

    Args:
        samples: Of any shape; uint8, uint16, or floats, of which NaN becomes 0 and what lies
            outside [0, 1] its nearer end.
        dtype: uint8 or uint16.

    >>> to_integers(np.array([-0.1, 0.5, 1.0]), "uint8").tolist()
    [0, 128, 255]
    >>> to_integers(np.array([128, 129, 65535], np.uint16), "uint8").tolist()
    [0, 1, 255]
    """
    dtype = np.dtype(dtype)
    if samples.dtype == dtype:
        return samples
    if samples.dtype.kind == "f":
        wide = samples if samples.dtype.itemsize >= 4 else samples.astype(np.float32)
        unit = np.clip(np.nan_to_num(wide), 0, 1)
        return np.asarray(np.rint(unit * unit.dtype.type(full_scale(dtype))).astype(dtype))
    found, wanted = (int(full_scale(kind)) for kind in (samples.dtype, dtype))
    return rescaled(samples, found, wanted).astype(dtype)


def to_uint8(samples: Array) -> npt.NDArray[np.uint8]:
    """Return samples of any type as 8-bit ones; see `to_integers`."""
    return to_integers(samples, np.uint8)


def to_format(samples: Array, kind: Format) -> Array:
    """Return samples as the deepest type that `kind` holds; those it holds are not copied.

    Args:
        samples: uint8, uint16 or floats of any shape.
        kind: Its `depths` are the types that it holds.

    >>> from unveil.imaging.formats import format_named
    >>> to_format(np.array([[[0.5]]], np.float32), format_named("jpeg")).item()
    128
    """
    return samples if samples.dtype.name in kind.depths else to_integers(samples, kind.depths[-1])


def normalised(samples: Array, white: float) -> Array:
    """Return floats on a scale where white is 1; those that are on it already are not copied.

    Args:
        samples: Floats of any shape.
        white: The value that stands for white, above 0.

    >>> normalised(np.array([510.0], np.float32), 255.0).tolist()
    [2.0]
    """
    return samples if white == 1 else np.asarray(samples / np.float32(white))


def to_levels(image: Array) -> Array:
    """Return floats in [0, 1] on the 0–255 scale, rounded; still floats, and not clipped.

    >>> to_levels(np.array([-0.01, 0.5])).tolist()
    [-3.0, 128.0]
    """
    return np.asarray(np.rint(image * 255))


def from_levels(levels: Array) -> npt.NDArray[np.float32]:
    """Return values on the 0–255 scale as float32 in [0, 1].

    >>> from_levels(np.array([0.0, 51.0])).tolist()
    [0.0, 0.20000000298023224]
    """
    return np.asarray(levels / 255, np.float32)


def rescaled(samples: Array, most: int, wanted: int) -> npt.NDArray[np.uint32]:
    """Return integers from 0 to `most` on the scale from 0 to `wanted`.

    Args:
        samples: Unsigned integers of any shape.
        most: The value of white, 1 to 65535.
        wanted: The new value of white, 1 to 65535.

    >>> rescaled(np.array([0, 2, 3]), 3, 255).tolist()
    [0, 170, 255]
    """
    return np.asarray(
        (samples.astype(np.uint32) * np.uint32(wanted) + np.uint32(most // 2)) // np.uint32(most)
    )


def spread_bits(samples: Array, bits: int) -> Array:
    """Return uint16 samples whose upper `bits` are significant over the type's whole range.

    Args:
        samples: uint16 of any shape.
        bits: 8 to 16.

    >>> spread_bits(np.array([0, 512 << 6, 1023 << 6], np.uint16), 10).tolist()
    [0, 32800, 65535]
    """
    return np.asarray(samples | samples >> bits)


def shorten_bits(samples: Array, bits: int) -> Array:
    """Undo `spread_bits`: return uint16 samples rounded to `bits`, in the upper ones.

    >>> (shorten_bits(np.array([0, 32800, 65535], np.uint16), 10) >> 6).tolist()
    [0, 512, 1023]
    """
    rounded = rescaled(samples, 65535, 2**bits - 1)
    return np.asarray(rounded.astype(np.uint16) << (16 - bits))


def multiplied(colours: Array, alpha: Array) -> Array:
    """Return ``(h, w, c)`` colours times ``(h, w)`` alpha, rounded; undoes `divided`.

    Args:
        colours: uint8, uint16 or floats.
        alpha: Of the same type.
    """
    if colours.dtype.kind == "f":
        return np.asarray(colours * alpha[..., None])
    top = np.uint64(full_scale(colours.dtype))
    product = colours.astype(np.uint64) * alpha[..., None]
    return np.asarray(((product * 2 + top) // (top * np.uint64(2))).astype(colours.dtype))


def divided(colours: Array, alpha: Array) -> Array:
    """Return ``(h, w, c)`` colours that were multiplied by ``(h, w)`` alpha as they are without.

    Args:
        colours: uint8, uint16 or floats.
        alpha: Of the same type; where it is 0, colours stay as they are.
    """
    opacity = alpha[..., None]
    if colours.dtype.kind == "f":
        return np.divide(colours, opacity, out=colours.copy(), where=opacity > 0)
    top = np.uint64(full_scale(colours.dtype))
    half = (opacity // 2).astype(np.uint64)
    whole = colours.astype(np.uint64) * top + half
    found = np.floor_divide(whole, opacity, out=whole, where=opacity > 0)
    return np.where(opacity > 0, np.minimum(found, top), colours).astype(colours.dtype)


def add_residual(original: Array, residual: Array, out: Array, white: float = 1.0) -> None:
    """Write ``original + residual`` into `out` in the original's type; a zero changes no bit.

    Args:
        original: ``(h, w, c)`` samples.
        residual: Same shape, float32, where 1.0 is full scale.
        out: Same shape and type as `original`.
        white: The value of floats that stands for white.
    """
    if original.dtype.kind == "f":
        scaled = residual if white == 1 else residual * np.float32(white)
        np.add(original, scaled, out=out, casting="same_kind")
        return
    top = full_scale(original.dtype)
    # Steps are rounded, not values: 65,535 fits float32 exactly, and so does every difference.
    # No step is larger than full scale; a network of absurd weights may predict more.
    step = np.rint(np.clip(residual, -1, 1) * np.float32(top)).astype(np.int32)
    np.clip(original.astype(np.int32) + step, 0, int(top), out=step)
    out[...] = step
