"""Switch off parts of a trained network, to see which tasks use them.

    python experiments/switch_off.py mtair_small photographs --include "n01*" --crop 320
    python experiments/switch_off.py runs/mine photographs --units --with noise_uint8:sigma_255=25

Clean photographs are degraded with fixed seeds and restored by the whole network, without its
coarsest level (what comes up from the latent is set to zero), with B of all scans set to zero (no
position hears of another by them) and, with `--units`, without each unit of the latent; printed is
the mean PSNR in dB for each. A part that can be switched off at no cost is not in use, which does
not say that a network trained without it would be as good.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

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
from unveil.layers.scan import ImageScan
from unveil.metrics import psnr

_DEGRADATIONS = (
    "noise_uint8:sigma_255=25", "noise_uint8:sigma_255=50", "rain:light", "rain:heavy",
    "haze:beta=1.2,airlight=0.9", "haze:heavy", "identity",
)  # fmt: skip

Hook = Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]


@contextmanager
def whole(network: nn.Module) -> Iterator[None]:
    """Leave the network as it is."""
    del network
    yield


@contextmanager
def without_latent(network: nn.Module) -> Iterator[None]:
    """Let nothing come up from the coarsest level."""
    handle = _ups(network)[-1].register_forward_hook(lambda _module, _given, up: up * 0)
    yield
    handle.remove()


@contextmanager
def without_scans(network: nn.Module) -> Iterator[None]:
    """Set B of every scan to zero: what is left of one is D times its input."""
    scans = [module for module in network.modules() if isinstance(module, ImageScan)]

    def silent(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, *rest: Any, **others: Any) -> Tensor:
        return ImageScan.scan(u, delta, A, B * 0, *rest, **others)

    for module in scans:
        module.scan = silent  # type: ignore[method-assign]
    yield
    for module in scans:
        del module.scan


def without_unit(index: int) -> Callable[[nn.Module], Any]:
    """Return what lets the features pass by a unit of the latent."""

    @contextmanager
    def switch(network: nn.Module) -> Iterator[None]:
        passing: Hook = lambda _module, given, _result: given[0]  # noqa: E731
        handle = _units(network)[index].register_forward_hook(passing)
        yield
        handle.remove()

    return switch


def _ups(network: nn.Module) -> nn.ModuleList:
    return network.get_submodule("ups")  # type: ignore[return-value]


def _units(network: nn.Module) -> nn.Sequential:
    return network.get_submodule("latent.blocks")  # type: ignore[return-value]


def degraded_pairs(
    photographs: list[Path], degradation: str, crop: int, multiple: int
) -> list[tuple[Tensor, Tensor]]:
    """Return degraded and clean ``(1, 3, h, w)`` from the photographs' upper left corners."""
    degrade, pairs = parse(degradation), []
    for seed, path in enumerate(photographs):
        clean = to_unit(load_rgb(path)[:crop, :crop])
        height, width = (side // multiple * multiple for side in clean.shape[:2])
        clean = clean[:height, :width]
        both = (degrade(clean, np.random.default_rng(seed)), clean)
        tensors = [
            torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32))[None]
            for image in both
        ]
        pairs.append((tensors[0], tensors[1]))
    return pairs


@torch.no_grad()
def mean_psnr(network: nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> float:
    """Return the mean PSNR in dB of what the network makes of degraded photographs."""
    # A perfect copy would have an infinite PSNR, and so would the mean.
    scores = [
        min(psnr(_image(network(given).clamp(0, 1)), _image(clean), data_range=1), 100.0)
        for given, clean in pairs
    ]
    return float(np.mean(scores))


def _image(batch: Tensor) -> np.ndarray[Any, Any]:
    return batch[0].permute(1, 2, 0).numpy()


def main() -> None:
    """Read the command line, restore, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="id, weights file or folder")
    parser.add_argument("photographs", type=Path, help="folder of clean photographs")
    parser.add_argument("--include", default="*", help="pattern of file names, e.g. n01*")
    parser.add_argument("--limit", type=int, help="how many photographs, evenly spread")
    parser.add_argument("--crop", type=int, default=320, help="side of the crops, in pixels")
    parser.add_argument("--units", action="store_true", help="leave out each unit of the latent")
    parser.add_argument("--with", dest="degradations", nargs="+", default=_DEGRADATIONS)
    options = parser.parse_args()
    try:
        network = load(options.model).network.eval()
        files = list_images(options.photographs)
        files = [file for file in files if fnmatch(file.name, options.include)]
        files = files[:: -(-len(files) // options.limit)] if options.limit and files else files
        if not files:
            raise SystemExit(f"{options.photographs}: no photograph is named {options.include}")
        sets = {
            degradation: degraded_pairs(files, degradation, options.crop, network.size_multiple)
            for degradation in options.degradations
        }
    except UnveilError as error:
        raise SystemExit(str(error)) from error
    switches: dict[str, Callable[[nn.Module], Any]] = {
        "whole": whole, "without its latent": without_latent, "B of its scans zero": without_scans,
    }  # fmt: skip
    if options.units:
        names = range(len(_units(network)))
        switches |= {f"without unit {index} of the latent": without_unit(index) for index in names}
    rows = []
    for name, switch in switches.items():
        with switch(network):
            scores = [mean_psnr(network, pairs) for pairs in sets.values()]
        rows.append([name, *(f"{score:.2f}" for score in scores)])
    print(f"PSNR in dB, means over {len(files)} photographs\n")
    print("\n".join(pipe_table(["", *sets], rows)))


if __name__ == "__main__":
    main()
