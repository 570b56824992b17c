"""Images of any input type as samples, and the result as the same type."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unveil.errors import InputError
from unveil.imaging.image import Array
from unveil.inference.value_range import require_unit_range
from unveil.inference.visible import RestoreInto, restore_visible

_INTEGERS = (torch.uint8, torch.uint16)
_INT_MODES = {"I;16": "uint16", "I;16L": "uint16", "I;16B": ">u2"}


def restore_array(array: Array, restore: RestoreInto) -> Array:
    """Restore a numpy image ``(h, w)`` or ``(h, w, c)``, or a batch of them ``(b, h, w, c)``.

    Args:
        array: uint8, uint16, or floats with 1.0 as full scale; c is 1 to 4, the last of 2 or 4 is
            alpha.
        restore: Restores ``(h, w, c)`` colours, c 1 or 3, into another array.

    Returns:
        Same shape and type; alpha is passed through, and so are colours where it is 0.

    Raises:
        InputError: If the shape or type is another.
    """
    if array.ndim == 4 and array.size:
        return np.stack([restore_array(image, restore) for image in array])
    image = array[..., None] if array.ndim == 2 else array
    if image.ndim != 3 or not 1 <= image.shape[2] <= 4 or image.size == 0:
        raise InputError(
            f"array has shape {array.shape}; expected (h, w), (h, w, c) or (b, h, w, c), c 1 to 4"
        )
    # Bytes in another order than the machine's are no other type.
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != "f":
        raise InputError(f"array is {array.dtype}; expected uint8, uint16 or floats in [0, 1]")
    colours = 1 if image.shape[2] <= 2 else 3
    if image.dtype.kind == "f":
        require_unit_range(image[..., :colours], "array")
    out = image.copy()
    alpha = image[..., colours] if image.shape[2] > colours else None
    restore_visible(image[..., :colours], alpha, restore, out[..., :colours], None)
    return out.reshape(array.shape).astype(array.dtype, copy=False)


def restore_batch(x: Tensor, restore: RestoreInto) -> Tensor:
    """Restore a tensor ``(c, h, w)`` or ``(b, c, h, w)``, c 1 or 3.

    Args:
        x: uint8, uint16, or floats, nominally in [0, 1].
        restore: Restores ``(h, w, c)`` colours, c 1 or 3, into another array.

    Returns:
        Same shape, type and device; not clipped.

    Raises:
        InputError: If the shape or type is another.
    """
    batch = x[None] if x.ndim == 3 else x
    if batch.ndim != 4 or batch.shape[1] not in (1, 3) or x.numel() == 0:
        raise InputError(
            f"tensor has shape {tuple(x.shape)}; expected (c, h, w) or (b, c, h, w), c 1 or 3"
        )
    if not x.is_floating_point() and x.dtype not in _INTEGERS:
        raise InputError(f"tensor is {x.dtype}; expected uint8, uint16 or floats in [0, 1]")
    # Half precision has no numpy type that networks' input could be made from without loss.
    exact = x.dtype if x.dtype in (*_INTEGERS, torch.float64) else torch.float32
    arrays = batch.detach().permute(0, 2, 3, 1).to("cpu", exact).contiguous().numpy()
    if x.is_floating_point():
        require_unit_range(arrays, "tensor")
    out = np.empty_like(arrays)
    for array, made in zip(arrays, out, strict=True):
        restore(array, made)
    return torch.from_numpy(out).permute(0, 3, 1, 2).to(x.device, x.dtype).reshape(x.shape)


def is_pillow(x: object) -> bool:
    """Return whether `x` is a PIL image, without importing Pillow."""
    return any(kind.__module__.startswith("PIL.") for kind in type(x).__mro__)


def restore_pillow(image: Any, restore: RestoreInto) -> Any:
    """Restore a PIL image of mode L, LA, RGB, RGBA, I;16 or F; P and 1 become RGB(A) and L.

    A colour that stands for transparency becomes alpha (but of mode I;16, which has none):
    restored, others might get that colour.

    Args:
        image: A `PIL.Image.Image`.
        restore: As for `restore_array`.

    Returns:
        A PIL image with the same `info` (profile, EXIF, …).

    Raises:
        InputError: If the mode is another.
    """
    plain = _without_keys(image)
    if plain.mode in _INT_MODES:
        samples = np.asarray(plain).astype(_INT_MODES[plain.mode]).astype(np.uint16)
    elif plain.mode in ("L", "LA", "RGB", "RGBA", "F"):
        samples = np.asarray(plain)
    else:
        raise InputError(f"PIL image has mode {image.mode}; convert it to L, RGB or RGBA first")
    # A subclass (say, a file that is still open) gives a plain image back.
    out = plain.copy()
    out.frombytes(np.ascontiguousarray(_in_order(restore_array(samples, restore), plain.mode)))
    out.info = dict(image.info)
    if plain.mode.endswith("A"):
        out.info.pop("transparency", None)
    return out


def _in_order(samples: Array, mode: str) -> Array:
    return samples.astype(_INT_MODES.get(mode, samples.dtype))


def _without_keys(image: Any) -> Any:
    """Return an image whose samples are colours and alpha, not indices or keys."""
    keyed = "transparency" in image.info
    if image.mode in ("1", "L"):
        return image.convert("LA" if keyed else "L")
    if image.mode in ("P", "PA", "RGB"):
        return image.convert("RGBA" if keyed or image.mode == "PA" else "RGB")
    return image
