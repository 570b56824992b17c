"""The variants by name, and how to make one."""

import math
import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, TypeVar

import torch
from pydantic import ValidationError

from unveil.errors import InputError
from unveil.models import cu_mamba, mtair
from unveil.models.base import ModelConfig, RestorationModel
from unveil.models.record import ModelRecord
from unveil.models.tasks import Task
from unveil.models.weights_file import TensorFacts, facts_of
from unveil.plugins import Registry

__all__ = [
    "ModelRecord", "build_config", "create_model", "get_record", "list_models", "register_model",
]  # fmt: skip

Build = TypeVar("Build", bound=Callable[[Any], RestorationModel])
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# Four gigabytes in single precision.
MOST_PARAMETERS = 2**30
# Networks whose widths and numbers are below this are built without being counted first.
_PLAIN_WIDTH = 512


_RECORDS = Registry(
    "model",
    "unveil.models",
    ModelRecord,
    lambda record: record.id,
    (*cu_mamba.RECORDS, *mtair.RECORDS),
)


def list_models() -> list[str]:
    """Return the ids that `create_model` takes: ours, registered ones, those of plug-ins.

    >>> "cu_mamba_small" in list_models()
    True
    """
    return sorted(_RECORDS)


def register_model(
    model_id: str,
    *,
    config: ModelConfig,
    tasks: tuple[Task, ...],
    paper: str = "",
    whole_megapixels: float = 1.0,
    tile: int = 512,
    overlap: int = 64,
    replace: bool = False,
) -> Callable[[Build], Build]:
    """Register a network under an id, as a decorator of its class or of what builds it.

    From then on `create_model`, `Restorer`, recipes, `unveil evaluate` and weights files take
    that id. A class may be decorated several times, for several variants.

    Args:
        model_id: Name for `create_model`.
        config: The variant's configuration, a subclass of `ModelConfig`.
        tasks: What the network is meant for.
        paper: Title and arXiv id.
        whole_megapixels: Images up to this size are restored whole, larger ones in tiles.
        tile: Side of a tile in pixels.
        overlap: Pixels shared by neighbouring tiles.
        replace: Whether another registered network of that id may be replaced, as a notebook does
            when a cell runs twice; built-in ones never are.

    Returns:
        What takes the class and gives it back.

    Raises:
        InputError: The id is taken, or could not be a file name.
    """
    if not _ID.fullmatch(model_id):
        raise InputError(f"{model_id!r} is no id for a model: letters, digits, '_', '-' and '.'")

    def decorate(build: Build) -> Build:
        record = ModelRecord(model_id, build, config, tasks, paper, whole_megapixels, tile, overlap)
        _RECORDS.register(record, replace=replace)
        return build

    return decorate


def get_record(model_id: str) -> ModelRecord:
    """Return the record of a variant.

    Raises:
        InputError: There is no such id.

    >>> get_record("cu_mamba_small").tasks
    ('denoise',)
    """
    if not isinstance(model_id, str) or model_id not in _RECORDS:
        raise InputError(f"no model {model_id!r}{_nearest(model_id, list_models())}")
    return _RECORDS[model_id]


def build_config(
    model_id: str, config: ModelConfig | None = None, /, **overrides: Any
) -> ModelConfig:
    """Return the configuration of a variant with some fields replaced, validated.

    Args:
        model_id: As in `list_models`.
        config: What to start from, in place of the variant's own.
        overrides: Fields of the variant's configuration; a nested one may be given in part, as a
            dictionary.

    Raises:
        InputError: An unknown id or field (the nearest is named), or a value that does not fit.
    """
    config = config or get_record(model_id).config
    fields = list(type(config).model_fields)
    for name in overrides:
        if name not in fields:
            raise InputError(f"{model_id} has no option {name!r}{_nearest(name, fields)}")
    current = config.model_dump()
    merged = {
        name: current[name] | value
        if isinstance(value, dict) and isinstance(current[name], dict)
        else value
        for name, value in overrides.items()
    }
    try:
        return type(config).model_validate(current | merged)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its options"
        raise InputError(f"{model_id}: {place}: {first['msg']}") from None


def outline(record: ModelRecord, config: ModelConfig) -> dict[str, TensorFacts]:
    """Return name, shape and type of every tensor of a network without allocating any.

    Args:
        record: Of the variant.
        config: Which may differ from the variant's own.
    """
    with torch.device("meta"):
        return facts_of(record.build(config).state_dict())


def _check_size(record: ModelRecord, config: ModelConfig) -> None:
    """Refuse what would take all memory while it is being built.

    Raises:
        InputError: The network would have more than `MOST_PARAMETERS`.
    """
    if config == record.config or max(_integers(config.model_dump()), default=0) <= _PLAIN_WIDTH:
        return
    parameters = sum(math.prod(facts.shape) for facts in outline(record, config).values())
    if parameters > MOST_PARAMETERS:
        raise InputError(
            f"{record.id} with these options has {parameters:,} parameters; "
            f"expected {MOST_PARAMETERS:,} at most"
        )


def _integers(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    inner = value.values() if isinstance(value, dict) else value
    if isinstance(inner, tuple | list) or isinstance(value, dict):
        for one in inner:
            yield from _integers(one)


def create_model(model_id: str, pretrained: bool = False, **overrides: Any) -> RestorationModel:
    """Build a network.

    Args:
        model_id: As in `list_models`, e.g. ``"cu_mamba_small"``.
        pretrained: Load the weights bundled with the package; nothing is downloaded.
        overrides: Fields of the variant's configuration.

    Returns:
        The network: in evaluation mode with weights, else in training mode.

    Raises:
        InputError: An unknown id or field (the nearest is named), or a network out of all reason.
        CheckpointError: `pretrained`, and no weights are bundled or they do not fit the overrides.

    >>> model = create_model("cu_mamba_tiny", spatial_ssm=False)
    >>> model.size_multiple
    4
    """
    record, config = get_record(model_id), build_config(model_id, **overrides)
    _check_size(record, config)
    model = record.build(config)
    model.model_id = model_id
    if pretrained:
        # Loading is the one part that touches files; the checkpoint module builds on this one.
        from unveil.models.checkpoint import load_bundled  # noqa: PLC0415

        load_bundled(model)
    return model


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
