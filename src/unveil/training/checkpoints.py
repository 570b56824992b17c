"""Checkpoints that survive a power cut, and that load without running code.

A run keeps `last.pt` and the one before it, `previous.pt`. A checkpoint is written under another
name, forced to the disk and only then given its own, so at any moment one of the two is whole.

Layout (format 1): plain numbers, strings, lists, dicts and tensors under the keys of
`TrainingState`. Generators are not stored: every sample and step has its own, seeded by the step.
"""

import pickle
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from unveil.errors import CheckpointError, OutputError
from unveil.imaging.atomic import remove_leftovers, replacing

FORMAT = 1
LAST = "last.pt"
PREVIOUS = "previous.pt"


@dataclass
class TrainingState:
    """The complete state of a run after a step.

    Attributes:
        step: Optimiser steps done.
        recipe: The resolved recipe as YAML.
        plan: Steps and micro-batches fixed at the start, as `Plan.to_dict` gives them.
        network: The network's tensors.
        average: The moving average's tensors.
        optimizer: The optimiser's state.
        precision: The loss scaler's state under fp16, else empty.
        best: Step and PSNR of the best validation, or empty.
        photographs: Hash of the training images' names and their order.
        seconds: Time spent training, over all parts of the run.
        format: Version of this layout.
    """

    step: int
    recipe: str
    plan: dict[str, Any]
    network: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    precision: dict[str, Any] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    photographs: str = ""
    seconds: float = 0.0
    format: int = FORMAT


def save_state(state: TrainingState, folder: Path) -> Path:
    """Write `last.pt`, keeping the former one as `previous.pt`.

    Args:
        state: The state to store.
        folder: Existing folder of checkpoints.

    Returns:
        Path of the file written.

    Raises:
        OutputError: The disk is full or the folder not writable; earlier checkpoints are intact.
    """
    # `asdict` copies every tensor: not here.
    content = {part.name: getattr(state, part.name) for part in fields(state)}
    last = folder / LAST
    remove_leftovers(last)
    try:
        with (
            replacing(last, former=folder / PREVIOUS, durable=True) as temporary,
            temporary.open("wb") as file,
        ):
            torch.save(content, file)
    # torch reports a full disk as a RuntimeError of its zip writer
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"cannot write the checkpoint {last}: {error}; earlier ones are kept"
        ) from error
    return last


def load_state(folder: Path) -> TrainingState:
    """Read the newest whole checkpoint of a run.

    Raises:
        CheckpointError: There is none, or none that can be read.
    """
    problems = []
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            return read_state(path)
        except CheckpointError as error:
            problems.append(str(error))
    raise CheckpointError("; ".join(problems) or f"no checkpoint to resume from in {folder}")


def read_state(path: Path) -> TrainingState:
    """Read one checkpoint file, on the CPU and without running code from it.

    Raises:
        CheckpointError: The file is damaged, foreign, or of a later format.
    """
    # A truncated archive lacks the directory at its end.
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is not a whole checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is not a whole checkpoint: {error}") from error
    version = content.get("format") if isinstance(content, dict) else None
    if not isinstance(version, int) or "network" not in content:
        raise CheckpointError(f"{path} is not a training checkpoint of unveil")
    if version > FORMAT:
        raise CheckpointError(
            f"{path} has format {version}, this version reads up to {FORMAT}: update unveil"
        )
    known = {part.name for part in fields(TrainingState)}
    try:
        return TrainingState(**{key: value for key, value in content.items() if key in known})
    except TypeError as error:
        raise CheckpointError(f"{path} is not a whole checkpoint: {error}") from error
