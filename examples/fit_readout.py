"""Teach `unveil inspect` what an all-in-one network sees, once it is trained.

    python examples/fit_readout.py weights.safetensors CLEAN_FOLDER [--held-out OTHER_FOLDER]

Clean photographs are degraded with noise, rain, haze, noise on top of rain or haze, or left as they
are; the read-out is fitted on the network's prompt weights and stored in the weights file. Printed
is the confusion matrix and the error of the noise level on the held-out photographs.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unveil.degradations import parse
from unveil.imaging import IMAGE_SUFFIXES, load_rgb
from unveil.inference import Restorer
from unveil.inference.readout import CAUSES, fit_readout, look, mixer_names, store_readout
from unveil.layers.context import Context

Seen = tuple[Context, frozenset[str], float]

_CROP = 256
# Steps by cause; `{sigma}` is drawn per photograph.
_STEPS = {
    "noise": ("noise_uint8:sigma_255={sigma}",),
    "rain": ("rain:light", "rain:heavy"),
    "haze": ("haze:light", "haze:heavy"),
}
_MIXES = [(), ("noise",), ("rain",), ("haze",), ("rain", "noise"), ("haze", "noise")]


def see(restorer: Restorer, paths: list[Path], seed: int) -> Iterator[Seen]:
    """Yield, for each photograph in each mix of degradations, what the network gathers."""
    rng = np.random.default_rng(seed)
    for path in paths:
        clean = (load_rgb(path) / 255).astype(np.float32)
        for causes in _MIXES:
            crop = _crop(clean, rng)
            sigma = float(rng.uniform(5, 55)) if "noise" in causes else 0.0
            steps = [str(rng.choice(_STEPS[cause])).format(sigma=sigma) for cause in causes]
            degraded = parse("+".join(steps))(crop, rng) if steps else crop
            pixels = np.clip(np.rint(degraded * 255), 0, 255).astype(np.uint8)
            yield restorer.engine.describe(pixels), frozenset(causes), sigma


def _crop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    top, left = (int(rng.integers(0, max(side - _CROP, 0) + 1)) for side in image.shape[:2])
    return image[top : top + _CROP, left : left + _CROP]


def _images(folder: Path, limit: int) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    return found[:: max(len(found) // limit, 1)][:limit]


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--held-out", type=Path, help="default: every fifth photograph of CLEAN")
    parser.add_argument("--limit", type=int, default=200, help="photographs to use")
    options = parser.parse_args()
    restorer = Restorer(options.weights)
    paths = _images(options.clean, options.limit)
    held = _images(options.held_out, options.limit) if options.held_out else paths[::5]
    fitting = [path for path in paths if path not in held]
    held_out = list(see(restorer, held, seed=1))
    network = restorer.loaded.network
    readout = fit_readout(network, see(restorer, fitting, seed=0), held_out=held_out)
    store_readout(options.weights, readout)
    print(f"{'':>8}" + "".join(f"{name:>8}" for name in (*CAUSES, "clean")))
    for name, row in zip((*CAUSES, "clean"), readout.confusion or [], strict=False):
        print(f"{name:>8}" + "".join(f"{count:>8}" for count in row))
    names = mixer_names(network)
    noisy = [(look(readout, names, context), sigma) for context, _, sigma in held_out if sigma]
    errors = [abs(seen.sigma_255 - sigma) for seen, sigma in noisy if seen.sigma_255]
    if errors:
        print(f"sigma: median error {np.median(errors):.1f}, {len(errors)} of {len(noisy)} seen")


if __name__ == "__main__":
    main()
