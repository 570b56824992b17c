"""Load a network with its tiling and its task conditioning."""

import copy
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from unveil.errors import InputError
from unveil.inference.conditioning import task_conditioning
from unveil.inference.diagnosis import LinearProbe, parse_probe
from unveil.inference.options import (
    DEBLURRER,
    DEFAULT_MODEL,
    DENOISER,
    TaskChoice,
    require_task,
)
from unveil.models.checkpoint import bundled_weights, read_bundled, read_pretrained
from unveil.models.record import Tiling
from unveil.models.registry import get_record, list_models


@dataclass
class LoadedModel:
    """A network ready to restore.

    Attributes:
        name: What the user called it, or the network's class.
        network: Maps ``(b, 3, h, w)`` to the same shape.
        tiling: From its record.
        conditioning: Statistics, by layer, that set it to a task.
        metadata: Of its weights file; None where it came as a network.
        task: That it is set to.
    """

    name: str
    network: nn.Module
    tiling: Tiling = field(default_factory=Tiling)
    conditioning: dict[str, Tensor] = field(default_factory=dict)
    metadata: Mapping[str, str] | None = None
    task: TaskChoice = "auto"

    @cached_property
    def probe(self) -> LinearProbe | None:
        """The linear probe stored with its weights, if there is one.

        Raises:
            CheckpointError: If it is damaged.
        """
        return parse_probe(self.metadata or {}, self.name)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the parameters' values, the first 16 digits: differs between weights."""
        state = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            state.update(name.encode())
            state.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return state.hexdigest()[:16]


def load(
    model: "str | Path | nn.Module | LoadedModel | None", task: TaskChoice = "auto"
) -> LoadedModel:
    """Load a network by id, file, or as it is.

    Args:
        model: As `unveil.Restorer`; what this returned is not read again.
        task: One of `TASKS`.

    Raises:
        InputError: If the task is unknown or the model does not do it.
        CheckpointError: If weights are missing or damaged.
    """
    require_task(task)
    if model is None:
        model = default_model(task)
    loaded = replace(model) if isinstance(model, LoadedModel) else _load(model)
    if task != "auto":
        loaded.task = task
        loaded.conditioning, window = task_conditioning(loaded, task)
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
    return Tiling.of(get_record(model_id)) if model_id in list_models() else Tiling()


def ready_on(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a network in evaluation mode on a device; the caller's own is not changed by it.

    Args:
        network: Any network.
        device: Where it is run.

    Raises:
        InputError: If its parameters are not single precision, or it cannot be copied.
    """
    tensors = list(network.parameters())
    other = {t.dtype for t in tensors if t.is_floating_point()} - {torch.float32}
    if other:
        raise InputError(f"the network's parameters are {other.pop()}; call .float() on it first")
    training = any(module.training for module in network.modules())
    if training or any(tensor.device != device for tensor in tensors):
        try:
            network = copy.deepcopy(network)
        except (RuntimeError, TypeError) as error:
            raise InputError(
                f"the network cannot be copied ({error}); call .eval() on it, on its device, first"
            ) from error
    return network.to(device).eval()
