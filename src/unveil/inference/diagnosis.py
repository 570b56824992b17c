"""Degradation estimate: linear probes on the global statistics of an all-in-one network.

A restoration network computes a few statistics of the whole image: the weights of its prompts, and
the power of its channels, which attention across channels needs. A logistic regression on these,
fitted after training, predicts the degradations; a ridge regression predicts the noise level. The
prompt weights alone predict worse: there are few, and they were trained to restore, not to name.
Both regressions are stored in the metadata of the weights file, under ``"readout"``.

Source: Alain and Bengio, Understanding intermediate layers using linear classifier probes, 2016.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from unveil.bounded import parse_json
from unveil.errors import CheckpointError, InputError
from unveil.layers.prompt import PromptMixer
from unveil.layers.statistics import GlobalStatistics, ImageWide
from unveil.models.checkpoint import read_metadata
from unveil.models.weights_file import open_weights, write_weights

DEGRADATIONS = ("noise", "rain", "haze")
_KEY = "readout"
_RIDGE = 1e-3
_STEPS = 500
# Features that hardly vary must not count for much in images of another kind.
_LEAST_SCALE = 1e-2
_LARGEST_WINDOW = 65_536

Vector = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class LinearProbe:
    """A fitted linear probe.

    Attributes:
        causes: Names of the degradations it predicts.
        weight: One row of coefficients per degradation, then one for the log of the noise level.
        bias: Likewise.
        means: Mean prompt weights (before softmax) of images with one degradation only, by layer.
        windows: By degradation, the side of the windows whose own statistics remove it better than
            those of the whole image; degradations that are not there were not helped.
        by_prompts: Degradations that setting the prompt weights to their means removes better.
        confusion: Counts on held-out images, rows true and columns predicted; the last is clean.
    """

    causes: tuple[str, ...]
    weight: list[list[float]]
    bias: list[float]
    means: dict[str, dict[str, list[float]]]
    confusion: list[list[int]] | None = None
    windows: dict[str, int] = field(default_factory=dict)
    by_prompts: tuple[str, ...] = DEGRADATIONS

    def __post_init__(self) -> None:
        # From JSON they come as lists.
        object.__setattr__(self, "causes", tuple(self.causes))
        object.__setattr__(self, "by_prompts", tuple(self.by_prompts))
        rows = {len(self.weight), len(self.bias), len(self.causes) + 1}
        if len(rows) > 1 or len({len(row) for row in self.weight}) > 1:
            raise ValueError(
                "weight and bias have no row per degradation and one for the noise level"
            )
        if any(not 1 <= side <= _LARGEST_WINDOW for side in self.windows.values()):
            raise ValueError(f"windows are not within 1..{_LARGEST_WINDOW} pixels")


@dataclass(frozen=True)
class DegradationEstimate:
    """Degradations predicted for an image.

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


def features(model: nn.Module, statistics: GlobalStatistics) -> Vector:
    """Return the statistics of an image, layer after layer, as one vector.

    Args:
        model: The network that gathered them.
        statistics: Statistics of one image.
    """
    found = statistics.statistics
    parts = [
        layer.summary(found[layer.statistic_name])[0].double().cpu()
        for layer in model.modules()
        if isinstance(layer, ImageWide) and layer.statistic_name in found
    ]
    return np.asarray(torch.cat([torch.zeros(0), *parts]).numpy())


def fit_probe(
    model: nn.Module,
    seen: Iterable[tuple[GlobalStatistics, frozenset[str], float]],
    *,
    held_out: Iterable[tuple[GlobalStatistics, frozenset[str], float]] = (),
) -> LinearProbe:
    """Fit a linear probe on images whose degradations are known.

    Args:
        model: Network with prompt mixers or attention across channels.
        seen: Per image: statistics from ``model.collect_statistics``, its degradations (of
            `DEGRADATIONS`, none for clean), noise level sigma_255.
        held_out: The same of other images, for the confusion matrix.

    Returns:
        The linear probe, to be stored with `store_probe`.

    Raises:
        InputError: If the model gathers no such statistics or a degradation never occurs.
    """
    names = mixer_names(model)
    recorded, degradations, sigmas = zip(*seen, strict=True)
    X = np.stack([features(model, statistics) for statistics in recorded])
    if not X.size:
        raise InputError(f"{type(model).__name__} gathers no statistics to read out")
    missing = [c for c in DEGRADATIONS if not any(c in found for found in degradations)]
    if missing:
        raise InputError(f"no image with {', '.join(missing)} to fit the linear probe on")
    mean, scale = X.mean(0), X.std(0) + _LEAST_SCALE
    Z = (X - mean) / scale
    rows = [
        _logistic(Z, np.array([degradation in found for found in degradations]))
        for degradation in DEGRADATIONS
    ]
    noisy = np.array(["noise" in found for found in degradations])
    rows.append(_ridge(Z[noisy], np.log(np.array(sigmas)[noisy])))
    fitted = LinearProbe(
        causes=DEGRADATIONS,
        weight=[_short(row[:-1] / scale) for row in rows],
        bias=_short(np.array([row[-1] - row[:-1] @ (mean / scale) for row in rows])),
        means={c: _mean_logits(names, recorded, degradations, c) for c in DEGRADATIONS},
    )
    return replace(fitted, confusion=_confusion(fitted, model, held_out))


def estimate_degradation(
    probe: LinearProbe, model: nn.Module, statistics: GlobalStatistics
) -> DegradationEstimate:
    """Predict the degradations of an image from its statistics.

    Args:
        probe: Fitted on statistics of this network.
        model: The network.
        statistics: Statistics of the image.

    Raises:
        CheckpointError: If the linear probe was fitted on another network.
    """
    x = features(model, statistics)
    if len(x) != len(probe.weight[0]):
        raise CheckpointError(
            f"the linear probe takes {len(probe.weight[0])} numbers, the network gives {len(x)}: "
            "fit it again"
        )
    scores = np.array(probe.weight) @ x + np.array(probe.bias)
    chances = 1 / (1 + np.exp(-np.clip(scores[:-1], -50, 50)))
    probabilities = dict(zip(probe.causes, map(float, chances), strict=True))
    verdict = tuple(c for c, p in probabilities.items() if p > 0.5) or ("clean",)
    sigma = math.exp(min(float(scores[-1]), math.log(255))) if "noise" in verdict else 0.0
    return DegradationEstimate(probabilities, sigma, verdict)


def read_probe(weights: Path) -> LinearProbe | None:
    """Return the linear probe in the metadata of a weights file; None when it holds none.

    Raises:
        CheckpointError: If the file or the linear probe is damaged.
    """
    return parse_probe(read_metadata(weights), str(weights))


def parse_probe(metadata: Mapping[str, str], weights: str) -> LinearProbe | None:
    """Return the linear probe among the entries of a weights file; None when there is none.

    Args:
        metadata: The file's entries.
        weights: Its name, for messages.

    Raises:
        CheckpointError: If the linear probe is damaged.
    """
    stored = metadata.get(_KEY)
    try:
        return (
            None if stored is None else TypeAdapter(LinearProbe).validate_python(parse_json(stored))
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "values"
        raise CheckpointError(f"{weights}: its linear probe's {place}: {first['msg']}") from None
    except ValueError as error:
        raise CheckpointError(f"{weights}: its linear probe cannot be read: {error}") from error


def store_probe(weights: Path, probe: LinearProbe) -> None:
    """Put a linear probe into the metadata of a weights file, replacing the file whole.

    Args:
        weights: Safetensors file of the network it was fitted on.
        probe: From `fit_probe`.

    Raises:
        CheckpointError: If the file is damaged.
        OutputError: If it cannot be written.
    """
    with open_weights(weights) as file:
        metadata, tensors = file.metadata, file.tensors()
    write_weights(weights, tensors, metadata | {_KEY: json.dumps(asdict(probe))})


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
    names: Sequence[str],
    recorded: Sequence[GlobalStatistics],
    degradations: Sequence[frozenset[str]],
    degradation: str,
) -> dict[str, list[float]]:
    alone = [c for c, found in zip(recorded, degradations, strict=True) if found == {degradation}]
    chosen = alone or [
        c for c, found in zip(recorded, degradations, strict=True) if degradation in found
    ]
    return {n: torch.stack([c.statistics[n][0] for c in chosen]).mean(0).tolist() for n in names}


def _confusion(
    probe: LinearProbe,
    model: nn.Module,
    held_out: Iterable[tuple[GlobalStatistics, frozenset[str], float]],
) -> list[list[int]] | None:
    """Count, for images with at most one degradation, the likeliest against the true one."""
    size = len(probe.causes) + 1
    table = np.zeros((size, size), int)
    for statistics, degradations, _ in held_out:
        if len(degradations) > 1:
            continue
        seen = estimate_degradation(probe, model, statistics)
        predicted = max(seen.probabilities, key=lambda degradation: seen.probabilities[degradation])
        column = size - 1 if seen.verdict == ("clean",) else probe.causes.index(predicted)
        row = probe.causes.index(next(iter(degradations))) if degradations else size - 1
        table[row, column] += 1
    return table.tolist() if table.any() else None
