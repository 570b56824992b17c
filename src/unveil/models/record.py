"""The record of a variant: what is fixed before it is built, with how images are cut for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unveil.models.base import ModelConfig, RestorationModel
from unveil.models.tasks import Task


@dataclass(frozen=True)
class Tiling:
    """When and how an image is cut; the defaults are for networks without a record.

    Attributes:
        whole_megapixels: Images up to this size are restored whole.
        tile: Side of a tile in pixels.
        overlap: Pixels shared by neighbouring tiles.
        window: See `ModelRecord`.
        whole_latent: See `ModelRecord`.
    """

    whole_megapixels: float = 1.0
    tile: int = 512
    overlap: int = 64
    window: int | None = None
    whole_latent: bool = False

    @classmethod
    def of(cls, record: "ModelRecord") -> "Tiling":
        """Return how images are cut for a variant."""
        return cls(**{name: getattr(record, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class ModelRecord:
    """One named variant.

    Attributes:
        id: Name for `create_model`.
        build: Makes the network from a configuration.
        config: The variant's configuration.
        tasks: What the network is meant for.
        paper: Title and arXiv id.
        whole_megapixels: Images up to this size are restored whole, larger ones in tiles.
        tile: Side of a tile in pixels.
        overlap: Pixels shared by neighbouring tiles.
        window: Side of the crops from which an image's statistics are gathered, to be shared by all
            of it; None takes the whole image where it is restored whole. For networks
            that were trained on the statistics of patches alone.
        whole_latent: Whether the latent of an image that is cut into tiles is made of the whole
            image. For networks whose scans there set how much haze is removed, which would
            differ from tile to tile. Costs every tile's encoder twice.
    """

    id: str
    build: Callable[[Any], RestorationModel]
    config: ModelConfig
    tasks: tuple[Task, ...]
    paper: str
    whole_megapixels: float
    tile: int
    overlap: int
    window: int | None = None
    whole_latent: bool = False
