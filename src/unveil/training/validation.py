"""Validation during training: PSNR on a few held-out images, and an image of them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unveil.imaging.convert import to_uint8
from unveil.metrics.psnr import psnr

_PICTURE_ROWS = 6
_PICTURE_SIDE = 256
_GAP = 4


@dataclass(frozen=True)
class ValidationImage:
    """One image to validate on.

    Attributes:
        name: File it comes from.
        group: Its degradation or task; scores are averaged per group.
        degraded: ``(3, h, w)`` float32, nominal [0, 1].
        clean: ``(3, h, w)`` float32 in [0, 1].
    """

    name: str
    group: str
    degraded: Tensor
    clean: Tensor


@dataclass(frozen=True)
class Validation:
    """Scores of one validation.

    Attributes:
        psnr: Mean over the groups of their mean RGB PSNR in dB, outputs clipped to [0, 1]. Groups
            whose photographs are not degraded at all stay out: how little is changed there would
            outweigh what is restored elsewhere. If there are no others, they count.
        groups: Mean PSNR per group.
        montage: Rows of degraded | restored | clean, ``(h, w, 3)`` uint8.
        seconds: Time it took.
    """

    psnr: float
    groups: Mapping[str, float]
    montage: NDArray[np.uint8]
    seconds: float


def validate(network: nn.Module, images: Sequence[ValidationImage]) -> Validation:
    """Score a network.

    Args:
        network: In evaluation mode.
        images: At least one; sides are multiples of the network's `size_multiple`.
    """
    start = time.perf_counter()
    scores: dict[str, list[float]] = {}
    rows: dict[str, list[NDArray[np.uint8]]] = {}
    for image in images:
        restored = _restore(network, image.degraded)
        scores.setdefault(image.group, []).append(_psnr(restored, image.clean))
        rows.setdefault(image.group, []).append(_row([image.degraded, restored, image.clean]))
    groups = {group: float(np.mean(values)) for group, values in scores.items()}
    return Validation(
        psnr=mean_of_degraded(groups, undegraded(images)),
        groups=groups,
        montage=_stack(_spread(list(rows.values()))),
        seconds=time.perf_counter() - start,
    )


def undegraded(images: Sequence[ValidationImage]) -> frozenset[str]:
    """Return the groups of which no image is degraded."""
    degraded = {one.group for one in images if not torch.equal(one.degraded, one.clean)}
    return frozenset(one.group for one in images) - degraded


def mean_of_degraded(groups: Mapping[str, float], without: frozenset[str]) -> float:
    """Average scores over the groups but some; over all where none would be left.

    Args:
        groups: Score per group.
        without: Groups to leave out.

    >>> mean_of_degraded({"noise:sigma_255=25": 30.0, "identity": 50.0}, frozenset({"identity"}))
    30.0
    """
    counted = [psnr for group, psnr in groups.items() if group not in without]
    return float(np.mean(counted or list(groups.values())))


@torch.inference_mode()
def _restore(network: nn.Module, degraded: Tensor) -> Tensor:
    device = next(network.parameters()).device
    restored: Tensor = network(degraded[None].to(device))[0]
    return restored.float().cpu().clamp(0.0, 1.0)


def _psnr(restored: Tensor, clean: Tensor) -> float:
    # Equal images would make every mean infinite; 16 bits resolve no difference beyond 100 dB.
    # In this order a NaN stays one.
    return min(psnr(restored.numpy(), clean.numpy(), data_range=1.0), 100.0)


def _row(parts: Sequence[Tensor]) -> NDArray[np.uint8]:
    tiles = [_centre(image.clamp(0.0, 1.0)) for image in parts]
    gap = np.full((tiles[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([tiles[0], gap, tiles[1], gap, tiles[2]], axis=1)


def _centre(image: Tensor) -> NDArray[np.uint8]:
    height, width = image.shape[1:]
    top, left = max(0, height - _PICTURE_SIDE) // 2, max(0, width - _PICTURE_SIDE) // 2
    cut = image[:, top : top + _PICTURE_SIDE, left : left + _PICTURE_SIDE]
    return to_uint8(cut.permute(1, 2, 0).numpy())


def _spread(rows: list[list[NDArray[np.uint8]]]) -> list[NDArray[np.uint8]]:
    """Pick rows from all groups in turn, each time another image."""
    chosen: list[NDArray[np.uint8]] = []
    for number in range(max(len(group) for group in rows)):
        for offset, group in enumerate(rows):
            if number < len(group) and len(chosen) < _PICTURE_ROWS:
                chosen.append(group[(number + offset) % len(group)])
    return chosen


def _stack(rows: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    return np.concatenate(padded, axis=0)[:-_GAP]
