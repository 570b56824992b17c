"""What the all-in-one network sees in a picture: a small linear read-out on its statistics.

A restoring network computes a few statistics of the whole picture: the weights it mixes its prompts
by, and the power of its channels, which attention across channels needs. A logistic regression on
these, fitted after training, names the degradations; a ridge regression gives the noise level. The
prompt weights alone tell less: there are few, and they were trained to restore, not to name.
Both are stored in the metadata of the weights file, under ``"readout"``.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from unveil.bounded import parse_json
from unveil.errors import CheckpointError, InputError
from unveil.imaging.atomic import write_bytes
from unveil.layers.context import Context, ImageWide
from unveil.layers.prompt import PromptMixer
from unveil.models.checkpoint import read_metadata

CAUSES = ("noise", "rain", "haze")
_KEY = "readout"
_RIDGE = 1e-3
_STEPS = 500
# Features that hardly vary must not count for much in pictures of another kind.
_LEAST_SCALE = 1e-2
_LARGEST_WINDOW = 65_536

Vector = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Readout:
    """A fitted read-out.

    Attributes:
        causes: Names of the degradations it tells.
        weight: One row of coefficients per cause, then one for the log of the noise level.
        bias: Likewise.
        means: Mean prompt weights (before softmax) of pictures with one cause only, by layer.
        windows: By cause, the side of the windows whose own statistics remove it better than those
            of the whole picture; causes that are not there were not helped.
        by_prompts: Causes that setting the prompt weights to their means removes better.
        confusion: Counts on held-out pictures, rows true and columns told; the last is clean.
    """

    causes: tuple[str, ...]
    weight: list[list[float]]
    bias: list[float]
    means: dict[str, dict[str, list[float]]]
    confusion: list[list[int]] | None = None
    windows: dict[str, int] = field(default_factory=dict)
    by_prompts: tuple[str, ...] = CAUSES

    def __post_init__(self) -> None:
        # From JSON they come as lists.
        object.__setattr__(self, "causes", tuple(self.causes))
        object.__setattr__(self, "by_prompts", tuple(self.by_prompts))
        rows = {len(self.weight), len(self.bias), len(self.causes) + 1}
        if len(rows) > 1 or len({len(row) for row in self.weight}) > 1:
            raise ValueError("weight and bias have no row per cause and one for the noise level")
        if any(not 1 <= side <= _LARGEST_WINDOW for side in self.windows.values()):
            raise ValueError(f"windows are not within 1..{_LARGEST_WINDOW} pixels")


@dataclass(frozen=True)
class Sighting:
    """What a network sees in a picture.

    Attributes:
        probabilities: Of each degradation, 0–1, independent of each other.
        sigma_255: Estimated standard deviation of the noise on the 0–255 scale; 0 when there is
            more likely none.
        verdict: Degradations that are more likely than not, or ``("clean",)``.
    """

    probabilities: dict[str, float]
    sigma_255: float
    verdict: tuple[str, ...]


def mixer_names(model: nn.Module) -> list[str]:
    """Return the statistics' names of the prompt mixers of `model`, in order.

    >>> mixer_names(nn.Identity())
    []
    """
    return [m.statistic_name for m in model.modules() if isinstance(m, PromptMixer)]


def features(model: nn.Module, context: Context) -> Vector:
    """Return what the statistics of a picture tell, layer after layer, as one vector."""
    found = context.statistics
    parts = [
        layer.summary(found[layer.statistic_name])[0].double().cpu()
        for layer in model.modules()
        if isinstance(layer, ImageWide) and layer.statistic_name in found
    ]
    return np.asarray(torch.cat([torch.zeros(0), *parts]).numpy())


def fit_readout(
    model: nn.Module,
    seen: Iterable[tuple[Context, frozenset[str], float]],
    *,
    held_out: Iterable[tuple[Context, frozenset[str], float]] = (),
) -> Readout:
    """Fit a read-out on pictures whose degradations are known.

    Args:
        model: Network with prompt mixers or attention across channels.
        seen: Per picture: its context from ``model.describe``, the causes in it (of `CAUSES`, empty
            for clean), the noise level sigma_255.
        held_out: The same of other pictures, for the confusion matrix.

    Returns:
        The read-out, to be stored with `store_readout`.

    Raises:
        InputError: If the model gathers no such statistics or a cause never occurs.
    """
    names = mixer_names(model)
    contexts, causes, sigmas = zip(*seen, strict=True)
    X = np.stack([features(model, context) for context in contexts])
    if not X.size:
        raise InputError(f"{type(model).__name__} gathers no statistics to read out")
    missing = [c for c in CAUSES if not any(c in found for found in causes)]
    if missing:
        raise InputError(f"no picture with {', '.join(missing)} to fit the read-out on")
    mean, scale = X.mean(0), X.std(0) + _LEAST_SCALE
    Z = (X - mean) / scale
    rows = [_logistic(Z, np.array([cause in found for found in causes])) for cause in CAUSES]
    noisy = np.array(["noise" in found for found in causes])
    rows.append(_ridge(Z[noisy], np.log(np.array(sigmas)[noisy])))
    fitted = Readout(
        causes=CAUSES,
        weight=[_short(row[:-1] / scale) for row in rows],
        bias=_short(np.array([row[-1] - row[:-1] @ (mean / scale) for row in rows])),
        means={c: _mean_logits(names, contexts, causes, c) for c in CAUSES},
    )
    table = _confusion(fitted, model, held_out)
    return Readout(**{**asdict(fitted), "confusion": table})


def look(readout: Readout, model: nn.Module, context: Context) -> Sighting:
    """Tell what a network sees, from the context it gathered.

    Raises:
        CheckpointError: If the read-out was fitted on another network.
    """
    x = features(model, context)
    if len(x) != len(readout.weight[0]):
        raise CheckpointError(
            f"the read-out takes {len(readout.weight[0])} numbers, the network gives {len(x)}: "
            "fit it again"
        )
    scores = np.array(readout.weight) @ x + np.array(readout.bias)
    chances = 1 / (1 + np.exp(-np.clip(scores[:-1], -50, 50)))
    probabilities = dict(zip(readout.causes, map(float, chances), strict=True))
    verdict = tuple(c for c, p in probabilities.items() if p > 0.5) or ("clean",)
    sigma = math.exp(min(float(scores[-1]), math.log(255))) if "noise" in verdict else 0.0
    return Sighting(probabilities, sigma, verdict)


def read_readout(weights: Path) -> Readout | None:
    """Return the read-out in the metadata of a weights file; None when it holds none.

    Raises:
        CheckpointError: If the file or the read-out is damaged.
    """
    return parse_readout(read_metadata(weights), str(weights))


def parse_readout(metadata: Mapping[str, str], weights: str) -> Readout | None:
    """Return the read-out among the entries of a weights file; None when there is none.

    Args:
        metadata: The file's entries.
        weights: Its name, for messages.

    Raises:
        CheckpointError: If the read-out is damaged.
    """
    stored = metadata.get(_KEY)
    try:
        return None if stored is None else TypeAdapter(Readout).validate_python(parse_json(stored))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "values"
        raise CheckpointError(f"{weights}: its read-out's {place}: {first['msg']}") from None
    except ValueError as error:
        raise CheckpointError(f"{weights}: its read-out cannot be read: {error}") from error


def store_readout(weights: Path, readout: Readout) -> None:
    """Put a read-out into the metadata of a weights file, replacing the file whole.

    Raises:
        CheckpointError: If the file is damaged.
        OutputError: If it cannot be written.
    """
    try:
        with safe_open(weights, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{weights}: cannot be read: {error}") from error
    metadata[_KEY] = json.dumps(asdict(readout))
    write_bytes(weights, save(tensors, metadata))


def _logistic(Z: Vector, y: np.ndarray[Any, Any]) -> Vector:
    """Fit logistic regression with an L2 penalty; classes weigh the same whatever their number."""
    inputs = torch.from_numpy(np.c_[Z, np.ones(len(Z))])
    target = torch.from_numpy(y.astype(np.float64))
    share = target.mean().clamp(1e-6, 1 - 1e-6)
    balance = torch.where(target > 0, 0.5 / share, 0.5 / (1 - share))
    w = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([w], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        logits = inputs @ w
        fit = nn.functional.binary_cross_entropy_with_logits(logits, target, balance)
        value = fit + _RIDGE * w[:-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(loss)  # type: ignore[no-untyped-call]
    return np.asarray(w.detach().numpy())


def _short(values: Vector) -> list[float]:
    """Round to six digits: more only lengthens the file."""
    return [float(f"{value:.6g}") for value in values]


def _ridge(Z: Vector, y: Vector) -> Vector:
    inputs = np.c_[Z, np.ones(len(Z))]
    penalty = _RIDGE * len(Z) * np.eye(inputs.shape[1])
    penalty[-1, -1] = 0
    return np.asarray(np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ y))


def _mean_logits(
    names: Sequence[str], contexts: Sequence[Context], causes: Sequence[frozenset[str]], cause: str
) -> dict[str, list[float]]:
    alone = [c for c, found in zip(contexts, causes, strict=True) if found == {cause}]
    chosen = alone or [c for c, found in zip(contexts, causes, strict=True) if cause in found]
    return {n: torch.stack([c.statistics[n][0] for c in chosen]).mean(0).tolist() for n in names}


def _confusion(
    readout: Readout,
    model: nn.Module,
    held_out: Iterable[tuple[Context, frozenset[str], float]],
) -> list[list[int]] | None:
    """Count, for pictures with at most one cause, the likeliest against the true one."""
    size = len(readout.causes) + 1
    table = np.zeros((size, size), int)
    for context, causes, _ in held_out:
        if len(causes) > 1:
            continue
        seen = look(readout, model, context)
        told = max(seen.probabilities, key=lambda cause: seen.probabilities[cause])
        column = size - 1 if seen.verdict == ("clean",) else readout.causes.index(told)
        row = readout.causes.index(next(iter(causes))) if causes else size - 1
        table[row, column] += 1
    return table.tolist() if table.any() else None
