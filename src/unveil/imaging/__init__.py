"""Image files in and out, without harming them."""

from unveil.imaging.formats import IMAGE_SUFFIXES
from unveil.imaging.image import Image, Metadata
from unveil.imaging.raw import Develop
from unveil.imaging.read import load_rgb, read_image
from unveil.imaging.write import save_png, write_image

__all__ = [
    "IMAGE_SUFFIXES",
    "Develop",
    "Image",
    "Metadata",
    "load_rgb",
    "read_image",
    "save_png",
    "write_image",
]
