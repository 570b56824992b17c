"""Compare ways of cutting photographs: whole, in tiles, statistics gathered in windows.

    python experiments/compare_tiling.py mtair_small photographs --limit 4 --tiles 512 256
    python experiments/compare_tiling.py mtair_small photographs --windows 128 256

Clean photographs are degraded with fixed seeds and restored in every way; printed is the mean PSNR
in dB for each. A network whose tiles and whole photographs differ by more than 0.05 dB has not seen
large enough patches in training; one that gains from windows wants `window` in its record.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from unveil.data import list_images
from unveil.degradations import parse
from unveil.errors import UnveilError
from unveil.evaluation.table import pipe_table
from unveil.imaging import load_rgb
from unveil.imaging.convert import to_unit
from unveil.inference import Restorer
from unveil.inference.tiling import TiledInference, Tiling
from unveil.metrics import psnr

_DEGRADATIONS = (
    "noise_uint8:sigma_255=25", "rain:light", "rain:heavy", "haze:light", "haze:heavy", "identity",
)  # fmt: skip


def ways(recorded: Tiling, tiles: list[int], windows: list[int]) -> dict[str, Tiling]:
    """Name every way of cutting; the first restores photographs whole."""
    whole = replace(recorded, whole_megapixels=float("inf"), window=None)
    named = {"whole": whole}
    named |= {f"windows of {side}": replace(whole, window=side) for side in windows}
    for side in tiles:
        cut = replace(whole, whole_megapixels=side * side / 1e6, tile=side)
        named[f"tiles of {side}"] = cut
    return named


def compare(
    restorer: Restorer, photos: list[Path], degradation: str, tilings: dict[str, Tiling]
) -> dict[str, float]:
    """Return the mean PSNR in dB of degraded `photos`, restored in every way."""
    engine, degrade = restorer.engine, parse(degradation)
    scores: dict[str, list[float]] = {name: [] for name in tilings}
    for seed, path in enumerate(photos):
        clean = np.ascontiguousarray(to_unit(load_rgb(path)))
        given = degrade(clean, np.random.default_rng(seed)).astype(np.float32)
        for name, tiling in tilings.items():
            restored = np.empty_like(given)
            TiledInference(engine.model, engine.device, tiling, forced=True).restore(
                given, restored
            )
            # A perfect copy would have an infinite PSNR, and so would the mean.
            scores[name].append(min(psnr(np.clip(restored, 0, 1), clean, data_range=1), 100.0))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def main() -> None:
    """Read the command line, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="id, weights file or folder")
    parser.add_argument("photographs", type=Path, help="folder of clean photographs")
    parser.add_argument("--tiles", type=int, nargs="*", default=[], help="sides of tiles")
    parser.add_argument("--windows", type=int, nargs="*", default=[], help="sides of windows")
    parser.add_argument("--overlap", type=int, help="pixels shared by tiles")
    parser.add_argument("--limit", type=int, help="how many photographs, evenly spread")
    parser.add_argument("--with", dest="degradations", nargs="+", default=_DEGRADATIONS)
    options = parser.parse_args()
    try:
        restorer, photos = Restorer(options.model), list_images(options.photographs)
        photos = photos[:: -(-len(photos) // options.limit)] if options.limit else photos
        recorded = restorer.loaded.tiling
        if options.overlap is not None:
            recorded = replace(recorded, overlap=options.overlap)
        tilings = ways(recorded, options.tiles, options.windows)
        rows = []
        for degradation in options.degradations:
            scores = compare(restorer, photos, degradation, tilings)
            rows.append([degradation, *(f"{value:.2f}" for value in scores.values())])
    except UnveilError as error:
        raise SystemExit(str(error)) from error
    print(f"PSNR in dB, means over {len(photos)} photographs\n")
    print("\n".join(pipe_table(["", *tilings], rows)))


if __name__ == "__main__":
    main()
