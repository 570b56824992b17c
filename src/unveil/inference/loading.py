"""Find the network that was asked for, with its tiling and what steers it to a task."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from unveil.errors import CheckpointError, InputError
from unveil.inference.engine import Tiling
from unveil.inference.options import TaskChoice, require_task
from unveil.inference.readout import Readout, mixer_names, parse_readout
from unveil.models.checkpoint import bundled_weights, read_bundled, read_pretrained
from unveil.models.registry import get_record, list_models

DEFAULT_MODEL, DENOISER, DEBLURRER = "mtair_small", "cu_mamba_small", "cu_mamba_small_deblur"

# What the read-out calls the degradation that a task removes.
_CAUSES = {"denoise": "noise", "derain": "rain", "dehaze": "haze"}


@dataclass
class LoadedModel:
    """A network ready to restore.

    Attributes:
        name: What the user called it, or the network's class.
        network: Maps ``(b, 3, h, w)`` to the same shape.
        tiling: From its record.
        steering: Statistics, by layer, that turn it to a task.
        metadata: Of its weights file; None where it came as a network.
        task: What it is steered to.
    """

    name: str
    network: nn.Module
    tiling: Tiling = field(default_factory=Tiling)
    steering: dict[str, Tensor] = field(default_factory=dict)
    metadata: Mapping[str, str] | None = None
    task: TaskChoice = "auto"

    @cached_property
    def readout(self) -> Readout | None:
        """The read-out stored with its weights, if there is one.

        Raises:
            CheckpointError: If it is damaged.
        """
        return parse_readout(self.metadata or {}, self.name)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the parameters' values, the first 16 digits: tells weights apart."""
        state = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            state.update(name.encode())
            state.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return state.hexdigest()[:16]


def load(model: str | Path | nn.Module | None, task: TaskChoice = "auto") -> LoadedModel:
    """Load a network by id, file, or as it is.

    Args:
        model: As `unveil.Restorer`.
        task: One of `TASKS`.

    Raises:
        InputError: If the task is unknown or the model does not do it.
        CheckpointError: If weights are missing or damaged.
    """
    require_task(task)
    if model is None:
        model = default_model(task)
    loaded = _load(model)
    if task != "auto":
        loaded.task = task
        loaded.steering, window = steering(loaded, task)
        loaded.tiling = replace(loaded.tiling, window=window)
    return loaded


def default_model(task: TaskChoice) -> str:
    """Return the bundled model for a task: the all-in-one model where no other is made for it.

    >>> default_model("denoise"), default_model("deblur")
    ('cu_mamba_small', 'cu_mamba_small_deblur')
    """
    if task == "deblur":
        return DEBLURRER
    wanted = [DENOISER, DEFAULT_MODEL] if task == "denoise" else [DEFAULT_MODEL, DENOISER]
    found = bundled_weights()
    return next((name for name in wanted if name in found), wanted[0])


def _load(model: str | Path | nn.Module) -> LoadedModel:
    if isinstance(model, nn.Module):
        name = getattr(model, "model_id", "") or type(model).__name__
        return LoadedModel(name, model, _recorded(name))
    if not isinstance(model, str | os.PathLike) or not str(model):
        raise InputError(f"model is {model!r}; expected an id, a weights file, or a network")
    name = str(model)
    if name == "identity":
        return LoadedModel(name, nn.Identity())
    if name in list_models():
        bundled = read_bundled(name)
        return LoadedModel(name, bundled.model, _recorded(name), metadata=bundled.metadata)
    path = Path(model)
    if not path.exists() and "/" not in name:
        known = ", ".join(list_models())
        raise InputError(f"no model {name!r}: neither a weights file nor one of {known}")
    file = read_pretrained(model)
    return LoadedModel(name, file.model, _recorded(file.model.model_id), metadata=file.metadata)


def _recorded(model_id: str) -> Tiling:
    if model_id not in list_models():
        return Tiling()
    record = get_record(model_id)
    return Tiling(
        record.whole_megapixels,
        record.tile,
        record.overlap,
        record.window,
        whole_latent=record.whole_latent,
    )


def read_out(loaded: LoadedModel) -> Readout:
    """Return the read-out stored with a network's weights.

    Raises:
        CheckpointError: If there is none.
    """
    if loaded.metadata is None:
        raise CheckpointError(
            f"{loaded.name}: a network alone brings no read-out of what it sees; give the model's "
            "id or its weights file instead"
        )
    readout = loaded.readout
    if readout is None:
        raise CheckpointError(
            f"{loaded.name}: its weights hold no read-out of what the network sees; "
            f"take the all-in-one model ({DEFAULT_MODEL}) or fit one with fit_readout"
        )
    return readout


def steering(loaded: LoadedModel, task: TaskChoice) -> tuple[dict[str, Tensor], int | None]:
    """Return what turns a network to `task`; one that was made for it alone needs nothing.

    Args:
        loaded: The network.
        task: One of `TASKS`, but not ``"auto"``.

    Returns:
        Prompt weights by layer, and the window of the image's statistics (see `Tiling`).

    Raises:
        InputError: If the network does not do it.
        CheckpointError: If its weights do not say how.
    """
    model_id = getattr(loaded.network, "model_id", "")
    tasks = get_record(model_id).tasks if model_id in list_models() else (task,)
    if task not in tasks:
        raise InputError(f"{loaded.name} does not {task}; it does: {', '.join(tasks)}")
    if loaded.readout is None and not mixer_names(loaded.network):
        return {}, loaded.tiling.window
    cause = _CAUSES.get(task)
    if cause is None:
        return {}, loaded.tiling.window
    readout = read_out(loaded)
    means = readout.means.get(cause, {}) if cause in readout.by_prompts else {}
    prompts = {name: torch.tensor([values]) for name, values in means.items()}
    return prompts, readout.windows.get(cause, loaded.tiling.window)
