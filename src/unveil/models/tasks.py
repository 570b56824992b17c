"""What networks are made for."""

from typing import Literal

Task = Literal["denoise", "deblur", "derain", "dehaze"]
