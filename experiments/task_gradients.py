"""Measure how hard each degradation pulls at each part of a network.

    python experiments/task_gradients.py mtair_small photographs --loss "l1 + 0.01*psnr35"

A batch of crops from clean photographs is degraded in one way after the other; printed is the norm
of the loss's gradient for each part of the network, the mean over a few batches. A task that pulls
ten times harder than another decides what the part learns, whatever its share of the samples;
`optim.task_loss` in a recipe evens that out.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unveil.data import list_images
from unveil.degradations import parse
from unveil.errors import UnveilError
from unveil.evaluation.table import pipe_table
from unveil.imaging import load_rgb
from unveil.imaging.convert import to_unit
from unveil.inference.loading import load
from unveil.training.losses import Loss

_DEGRADATIONS = (
    "noise_uint8:sigma_255=0..60", "rain:light", "rain:heavy", "haze:light", "haze:heavy",
)  # fmt: skip


def batch_of(
    files: list[Path], degradation: str, seed: int, *, batch: int, patch: int
) -> tuple[Tensor, Tensor]:
    """Return degraded and clean ``(b, 3, patch, patch)``: the same crops for every degradation."""
    degrade, rng = parse(degradation), np.random.default_rng(seed)
    pairs = []
    while len(pairs) < batch:
        photo = to_unit(load_rgb(files[rng.integers(len(files))]))
        if min(photo.shape[:2]) < patch:
            continue
        top, left = (rng.integers(side - patch + 1) for side in photo.shape[:2])
        # The whole photograph is degraded: rain and haze have a place in it.
        both = (degrade(photo, np.random.default_rng([seed, len(pairs)])), photo)
        pairs.append([image[top : top + patch, left : left + patch] for image in both])
    given, clean = torch.from_numpy(np.array(pairs, np.float32).transpose(1, 0, 4, 2, 3))
    return given, clean


def gradient_norms(
    network: nn.Module, loss: Loss, given: Tensor, clean: Tensor
) -> dict[str, float]:
    """Return the norm of the loss's gradient for each part: the children of the network."""
    network.zero_grad()
    loss(network(given), clean).backward()
    squares: dict[str, float] = {}
    for name, parameter in network.named_parameters():
        part = name.split(".")[0]
        if parameter.grad is not None:
            squares[part] = squares.get(part, 0.0) + float(parameter.grad.square().sum())
    return {part: value**0.5 for part, value in squares.items()}


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="id, weights file or folder")
    parser.add_argument("photographs", type=Path, help="folder of clean photographs")
    parser.add_argument("--loss", default="l1", help="as in a recipe")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8, help="crops per batch")
    parser.add_argument("--patch", type=int, default=128, help="side of the crops, in pixels")
    parser.add_argument("--with", dest="degradations", nargs="+", default=_DEGRADATIONS)
    options = parser.parse_args()
    rows = []
    try:
        network, loss = load(options.model).network.train(), Loss.parse(options.loss)
        files = list_images(options.photographs)
        if not any(min(load_rgb(file).shape[:2]) >= options.patch for file in files):
            raise SystemExit(
                f"{options.photographs}: no photograph has {options.patch} pixels a side"
            )
        for degradation in options.degradations:
            norms = [
                gradient_norms(
                    network,
                    loss,
                    *batch_of(files, degradation, i, batch=options.batch, patch=options.patch),
                )
                for i in range(options.batches)
            ]
            means = {part: np.mean([one[part] for one in norms]) for part in norms[0]}
            rows.append([degradation, *(f"{value:.3g}" for value in means.values())])
    except UnveilError as error:
        raise SystemExit(str(error)) from error
    print(f"Gradient norms of {options.loss}, means over {options.batches} batches\n")
    print("\n".join(pipe_table(["", *means], rows)))


if __name__ == "__main__":
    main()
