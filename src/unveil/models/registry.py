"""The variants by name, and how to make one."""

from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from unveil.errors import InputError
from unveil.models import cu_mamba, mtair
from unveil.models.base import ModelConfig, RestorationModel
from unveil.models.record import ModelRecord

__all__ = ["ModelRecord", "build_config", "create_model", "get_record", "list_models"]


def _collect(*families: tuple[ModelRecord, ...]) -> dict[str, ModelRecord]:
    records: dict[str, ModelRecord] = {}
    for record in (record for family in families for record in family):
        assert record.id not in records, f"two models are called {record.id}"
        records[record.id] = record
    return records


_RECORDS = _collect(cu_mamba.RECORDS, mtair.RECORDS)


def list_models() -> list[str]:
    """Return the ids that `create_model` takes.

    >>> "cu_mamba_small" in list_models()
    True
    """
    return sorted(_RECORDS)


def get_record(model_id: str) -> ModelRecord:
    """Return what is known about a variant.

    Raises:
        InputError: There is no such id.

    >>> get_record("cu_mamba_small").tile
    512
    """
    if model_id not in _RECORDS:
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


def create_model(model_id: str, pretrained: bool = False, **overrides: Any) -> RestorationModel:
    """Build a network.

    Args:
        model_id: As in `list_models`, e.g. ``"cu_mamba_small"``.
        pretrained: Load the weights bundled with the package; nothing is downloaded.
        overrides: Fields of the variant's configuration.

    Returns:
        The network: in evaluation mode with weights, else in training mode.

    Raises:
        InputError: An unknown id or field; the nearest is named.
        CheckpointError: `pretrained`, and no weights are bundled or they do not fit the overrides.

    >>> model = create_model("cu_mamba_tiny", spatial_ssm=False)
    >>> model.size_multiple
    4
    """
    model = get_record(model_id).build(build_config(model_id, **overrides))
    model.model_id = model_id
    if pretrained:
        # Loading is the one part that touches files; the checkpoint module builds on this one.
        from unveil.models.checkpoint import load_bundled  # noqa: PLC0415

        load_bundled(model)
    return model


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
