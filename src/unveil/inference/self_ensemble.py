"""The eight flips and rotations of an image that a self-ensemble averages over.

A transform is a number from 0 to 7: the image is flipped left to right if it has bit 4, then turned
by as many quarters as its lower bits say, counter-clockwise.

Source: Timofte et al., Seven ways to improve example-based single image super resolution, CVPR
2016, section 3.3 ("enhanced prediction").
"""

from torch import Tensor

COUNT = 8
Place = tuple[float, float, float, float]


def transformed(x: Tensor, number: int) -> Tensor:
    """Transform images.

    Args:
        x: ``(b, c, h, w)``.
        number: Of the transform.

    Returns:
        ``(b, c, h, w)``, or ``(b, c, w, h)`` after an odd number of quarters.
    """
    x = x.flip(-1) if number & 4 else x
    return x.rot90(number & 3, (-2, -1)).contiguous()


def restored_orientation(x: Tensor, number: int) -> Tensor:
    """Undo `transformed`, whose result `x` is."""
    x = x.rot90(-(number & 3), (-2, -1))
    return x.flip(-1) if number & 4 else x


def transformed_features(x: Tensor, number: int) -> Tensor:
    """Transform features ``(b, h, w, c)`` as `transformed` does images."""
    return transformed(x.movedim(-1, 1), number).movedim(1, -1).contiguous()


def restored_feature_orientation(x: Tensor, number: int) -> Tensor:
    """Undo `transformed_features`, whose result `x` is."""
    return restored_orientation(x.movedim(-1, 1), number).movedim(1, -1)


def transformed_place(place: Place, number: int) -> Place:
    """Return where a part of an image lies after the image's transform.

    Args:
        place: Top, bottom, left and right as shares of the image's height and width.
        number: Of the transform.

    >>> transformed_place((0.0, 0.25, 0.0, 0.75), 1)
    (0.25, 1.0, 0.0, 0.25)
    """
    top, bottom, left, right = place
    if number & 4:
        left, right = 1 - right, 1 - left
    for _ in range(number & 3):
        top, bottom, left, right = 1 - right, 1 - left, top, bottom
    return top, bottom, left, right
