"""What the package knows about a variant of a network before building it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from unveil.models.base import ModelConfig, RestorationModel

Task = Literal["denoise", "deblur", "derain", "dehaze"]


@dataclass(frozen=True)
class ModelRecord:
    """One named variant.

    Attributes:
        id: Name for `create_model`.
        build: Makes the network from a configuration.
        config: The variant's configuration.
        size_multiple: Heights and widths are padded to multiples of this.
        tasks: What the network is meant for.
        paper: Title and arXiv id.
        whole_megapixels: Images up to this size are restored whole, larger ones in tiles.
        tile: Side of a tile in pixels.
        overlap: Pixels shared by neighbouring tiles.
        local_statistics: Every image larger than a tile is restored in tiles, and what looks at the
            whole image looks at the tile: for networks that do better on what they were trained on,
            the size of a training patch. `whole_megapixels` then only bounds what a glance takes.
    """

    id: str
    build: Callable[[Any], RestorationModel]
    config: ModelConfig
    size_multiple: int
    tasks: tuple[Task, ...]
    paper: str
    whole_megapixels: float
    tile: int
    overlap: int
    local_statistics: bool = False
