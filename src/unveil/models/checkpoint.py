"""Weights in files: safetensors only, by Hugging Face's conventions.

A folder holds ``config.json`` and ``model.safetensors``. The configuration also stands in the
safetensors metadata, so that the one file suffices.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from unveil._version import __version__
from unveil.bounded import MOST_BYTES, parse_json, read_text
from unveil.errors import CheckpointError, InputError
from unveil.imaging.atomic import make_folder, write_text
from unveil.models.base import ModelConfig, RestorationModel
from unveil.models.record import ModelRecord
from unveil.models.registry import create_model, get_record, list_models, outline
from unveil.models.weights_file import (
    TensorFacts,
    facts_of,
    misfits,
    open_weights,
    write_weights,
)

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
_HUB = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def save_checkpoint(
    model: RestorationModel, path: str | Path, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write one safetensors file with weights and configuration.

    Args:
        model: The network.
        path: The file; replaced only once the new one is complete.
        metadata: More entries for the file's metadata, e.g. the recipe.

    Returns:
        The file.

    Raises:
        InputError: The network has no configuration, or is of no registered kind.
        OutputError: The file cannot be written.

    >>> from unveil import create_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_checkpoint(create_model("cu_mamba_tiny"), Path(folder, "a.safetensors"))
    ...     from_pretrained(path).model_id
    'cu_mamba_tiny'
    """
    path = Path(path)
    entries = {**(metadata or {}), "format": "pt", "unveil": json.dumps(_description(model))}
    make_folder(path.parent)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_weights(path, state, entries)
    return path


def save_pretrained(
    model: RestorationModel, folder: str | Path, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write ``config.json`` and ``model.safetensors`` into a folder.

    Args:
        model: The network.
        folder: Made when missing.
        metadata: As for `save_checkpoint`.

    Returns:
        The folder.

    Raises:
        InputError: As `save_checkpoint`.
    """
    folder = Path(folder)
    save_checkpoint(model, folder / WEIGHTS_NAME, metadata)
    text = json.dumps(_description(model), indent=2) + "\n"
    write_text(folder / CONFIG_NAME, text)
    return folder


def push_to_hub(model: RestorationModel, repo_id: str, **options: Any) -> str:
    """Upload a network to the Hugging Face hub.

    Args:
        model: The network.
        repo_id: ``owner/name``; made when missing.
        options: For `huggingface_hub.HfApi.create_repo`, e.g. ``private=True``.

    Returns:
        The commit's address.

    Raises:
        InputError: As `save_checkpoint`.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415

    api = HfApi()
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        api.create_repo(repo_id, exist_ok=True, **options)
        commit = api.upload_folder(repo_id=repo_id, folder_path=folder)
    return str(commit)


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds.

    Attributes:
        model: The network, in evaluation mode.
        metadata: The file's free entries.
    """

    model: RestorationModel
    metadata: dict[str, str]


def from_pretrained(source: str | Path, *, device: torch.device | str = "cpu") -> RestorationModel:
    """Load a network from a file, a folder, the package or, for an address ``hf://…``, the hub.

    Args:
        source: A ``.safetensors`` file, a folder with ``model.safetensors``, the id of a model
            whose weights are bundled, or ``hf://owner/name[@revision]``, the only form that may
            download.
        device: Where the network goes.

    Returns:
        The network, in evaluation mode.

    Raises:
        CheckpointError: There is no such file, or it is damaged, foreign or does not fit.

    >>> from_pretrained("cu_mamba_small").model_id
    'cu_mamba_small'
    """
    return read_pretrained(source).model.to(device)


def read_pretrained(source: str | Path) -> Checkpoint:
    """Load a network with the metadata of its file.

    Args:
        source: As for `from_pretrained`.

    Raises:
        CheckpointError: As `from_pretrained`.
    """
    match = _HUB.fullmatch(str(source))
    if match:
        return read_checkpoint(_download(match["repo"], match["revision"]))
    path = Path(source)
    if path.is_dir():
        path = path / WEIGHTS_NAME
    if not path.exists() and str(source) in list_models():
        return read_bundled(str(source))
    if not path.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise CheckpointError(
            f"{source}: no such file or folder; to download from the hub write hf://{source}"
        )
    return read_checkpoint(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Build the network a safetensors file describes, load its weights, keep its metadata.

    Args:
        path: A file written by `save_checkpoint`, or one beside its ``config.json``.

    Raises:
        CheckpointError: The file is missing, damaged, a pickle, foreign or does not fit.
    """
    with open_weights(path) as weights:
        metadata, facts = weights.metadata, weights.facts
        description = metadata.get("unveil")
        beside = path.with_name(CONFIG_NAME)
        if description is None and beside.exists():
            description = _read_config(beside)
        if description is None:
            raise CheckpointError(
                f"{path}: holds {len(facts)} tensors but no unveil configuration, neither in its "
                f"metadata nor in a {CONFIG_NAME} beside it; it was not written by unveil"
            )
        record, config = _described(path, description)
        if config != record.config:
            # Before it is built: a configuration may claim any size.
            _require_fit(facts, outline(record, config), path, record.id)
        model = record.build(config)
        model.model_id = record.id
        _require_fit(facts, facts_of(model.state_dict()), path, record.id)
        load_weights(model, weights.tensors(), path)
    return Checkpoint(model.eval(), metadata)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return a safetensors file's metadata without reading its weights.

    Raises:
        CheckpointError: The file is missing, damaged or a pickle.
    """
    with open_weights(Path(path)) as weights:
        return weights.metadata


def bundled_weights() -> list[str]:
    """Return the ids of the models whose weights come with the package."""
    return [model_id for model_id in list_models() if _bundled(model_id).is_file()]


def read_bundled(model_id: str) -> Checkpoint:
    """Build a network with the weights that come with the package, and keep their metadata.

    Raises:
        CheckpointError: No weights are bundled for it.
    """
    model = create_model(model_id)
    return Checkpoint(model, load_bundled(model))


def load_bundled(model: RestorationModel) -> dict[str, str]:
    """Load the weights that come with the package and set evaluation mode.

    Args:
        model: Made by `create_model`.

    Returns:
        The file's metadata.

    Raises:
        CheckpointError: No weights are bundled for it, or they do not fit its configuration.
    """
    source = _bundled(model.model_id)
    if not source.is_file():
        known = ", ".join(bundled_weights()) or "none"
        raise CheckpointError(
            f"no weights are bundled for {model.model_id!r} (bundled: {known}); "
            "train it, or load a file with from_pretrained"
        )
    with as_file(source) as path, open_weights(path) as weights:
        _require_fit(weights.facts, facts_of(model.state_dict()), path, model.model_id)
        load_weights(model, weights.tensors(), path)
        model.eval()
        return weights.metadata


def _bundled(model_id: str) -> Any:
    return files("unveil") / "weights" / f"{model_id}.safetensors"


def _description(model: RestorationModel) -> dict[str, Any]:
    if not isinstance(getattr(model, "config", None), ModelConfig):
        raise InputError(
            f"a {type(model).__name__} has no configuration to be built from again; save a network "
            "from create_model or from_pretrained, or this one's state_dict yourself"
        )
    config = model.config.model_dump(mode="json")
    return {"model": _variant_of(model), "config": config, "unveil_version": __version__}


def _variant_of(model: RestorationModel) -> str:
    """Return what a network was made as; of others, the variant of the same configuration."""
    if model.model_id:
        return model.model_id
    family = [r for r in map(get_record, list_models()) if r.build is type(model)]
    if not family:
        raise InputError(
            f"{type(model).__name__} is no registered network, so nothing could build it again; "
            "register it, or save its state_dict yourself"
        )
    return next((r for r in family if r.config == model.config), family[0]).id


def _read_config(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path}: cannot be read ({reason})") from None


def _described(path: Path, description: str) -> tuple[ModelRecord, ModelConfig]:
    """Return the variant and the configuration that a file names."""
    try:
        if len(description) > MOST_BYTES:
            raise ValueError(f"larger than {MOST_BYTES:,} bytes")
        content = parse_json(description)
        record = get_record(content["model"])
        return record, type(record.config).model_validate(content["config"])
    except InputError as error:
        raise CheckpointError(f"{path}: made by another version of unveil? {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "values"
        raise CheckpointError(f"{path}: its configuration's {place}: {first['msg']}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its configuration cannot be read ({error})") from None


def _require_fit(
    found: Mapping[str, TensorFacts],
    expected: Mapping[str, TensorFacts],
    source: str | Path,
    model_id: str,
) -> None:
    problems = misfits(found, expected)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise CheckpointError(f"{source}: does not fit {model_id}: {problems[0]}{more}")


def load_weights(model: RestorationModel, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Load weights whose names, shapes and values are checked.

    Args:
        model: Where they go.
        state: Parameters and buffers by name.
        source: Where they come from, for messages.

    Raises:
        CheckpointError: A name, shape or type does not fit, or a value is not finite.
    """
    expected = model.state_dict()
    name = model.model_id or type(model).__name__
    _require_fit(facts_of(state), facts_of(expected), source, name)
    # Doubles that single precision cannot hold become infinite.
    state = {name: value.to(expected[name].dtype) for name, value in state.items()}
    broken = next((name for name, value in state.items() if not value.isfinite().all()), None)
    if broken is not None:
        raise CheckpointError(f"{source}: {broken} holds values that are not finite")
    model.load_state_dict(dict(state))


def _download(repo: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415
    from huggingface_hub.errors import (  # noqa: PLC0415
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
    )

    try:
        # The weights may hold the configuration themselves.
        with suppress(EntryNotFoundError):
            hf_hub_download(repo, CONFIG_NAME, revision=revision)
        return Path(hf_hub_download(repo, WEIGHTS_NAME, revision=revision))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"hf://{repo}: cannot be downloaded ({reason})") from None
