"""Compare ways of cutting photographs: whole, in tiles, statistics gathered in windows.

    python experiments/compare_tiling.py mtair_small photographs --limit 4 --tiles 512 256
    python experiments/compare_tiling.py mtair_small photographs --windows 128 256
    python experiments/compare_tiling.py mtair_small photographs --enlarge 2 3 --tiles 512

Clean photographs are degraded with fixed seeds and restored in every way; printed is the mean PSNR
in dB for each. A photograph may be enlarged first, by several factors in turn.

For tiles three more figures compare with whole photographs: the largest loss in dB; the distance of
the changes, as a mean share of their norm; the largest seam, which is how much steeper the
difference is where tiles meet than on average (1: no seam).

A network whose tiles and whole photographs differ by more than 0.05 dB has not seen large enough
patches in training; one that gains from windows wants `window` in its record.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from unveil.data import list_images
from unveil.degradations import parse
from unveil.errors import UnveilError
from unveil.evaluation.table import pipe_table
from unveil.imaging import load_rgb
from unveil.imaging.convert import to_unit
from unveil.inference import Restorer
from unveil.inference.tiles import fitted_grid
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


@dataclass
class Scores:
    """Figures of one way of cutting, by photograph.

    Attributes:
        psnr: In dB.
        distance: Of the change from that of the whole photograph, over its norm.
        seam: Steps of that difference where tiles meet, over those elsewhere.
    """

    psnr: list[float] = field(default_factory=list)
    distance: list[float] = field(default_factory=list)
    seam: list[float] = field(default_factory=list)


def seam(difference: np.ndarray, tiling: Tiling, multiple: int) -> float:
    """Return the root mean square step across where tiles meet, over that across other pixels.

    Args:
        difference: ``(h, w, 3)``, of a result in tiles from the whole one.
        tiling: Of the result.
        multiple: The network's size multiple.
    """
    grid = fitted_grid(tiling.tile, tiling.overlap, multiple)
    worst = 1.0
    for axis in (0, 1):
        length = difference.shape[axis]
        steps = np.abs(np.diff(difference, axis=axis)).mean((1 - axis, 2))
        for evenly in (0, multiple):
            starts = [start for start, _ in replace(grid, even=evenly).spans(length)[1:]]
            for start in starts:
                near = steps[start : start + grid.overlap].mean()
                worst = max(worst, float(near / max(steps.mean(), 1e-9)))
    return worst


def photographs(paths: list[Path], factors: list[float]) -> Iterator[np.ndarray]:
    """Yield photographs as floats in [0, 1], enlarged by the factors in turn."""
    for number, path in enumerate(paths):
        pixels = load_rgb(path)
        factor = factors[number % len(factors)]
        if factor != 1:
            size = round(pixels.shape[1] * factor), round(pixels.shape[0] * factor)
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
        yield np.ascontiguousarray(to_unit(pixels))


def compare(
    restorer: Restorer,
    photos: list[Path],
    degradation: str,
    tilings: dict[str, Tiling],
    factors: list[float],
) -> dict[str, Scores]:
    """Return the figures of degraded `photos`, restored in every way; the first is the whole."""
    engine, degrade = restorer.engine, parse(degradation)
    scores = {name: Scores() for name in tilings}
    for seed, clean in enumerate(photographs(photos, factors)):
        given = degrade(clean, np.random.default_rng(seed)).astype(np.float32)
        whole: np.ndarray | None = None
        for name, tiling in tilings.items():
            restored = np.empty_like(given)
            TiledInference(
                engine.model, engine.device, tiling, forced=True, conditioning=engine.conditioning
            ).restore(given, restored)
            whole = restored if whole is None else whole
            found = scores[name]
            # A perfect copy would have an infinite PSNR, and so would the mean.
            found.psnr.append(min(psnr(np.clip(restored, 0, 1), clean, data_range=1), 100.0))
            change = max(float(np.linalg.norm(whole - given)), 1e-9)
            found.distance.append(float(np.linalg.norm(restored - whole)) / change)
            found.seam.append(seam(restored - whole, tiling, engine.model.size_multiple))
    return scores


def figures(scores: dict[str, Scores]) -> list[str]:
    """Return the cells of a row: PSNR, and for tiles what sets them apart from the whole."""
    whole, cells = next(iter(scores.values())), []
    for name, found in scores.items():
        cells.append(f"{np.mean(found.psnr):.2f}")
        if name.startswith("tiles"):
            worst = min(a - b for a, b in zip(found.psnr, whole.psnr, strict=True))
            cells += [f"{worst:+.2f}", f"{100 * np.mean(found.distance):.1f}"]
            cells.append(f"{max(found.seam):.2f}")
    return cells


def headings(tilings: dict[str, Tiling]) -> list[str]:
    """Return the columns' names, as `figures` fills them."""
    found: list[str] = []
    for name in tilings:
        found.append(name)
        if name.startswith("tiles"):
            found += ["worst", "distance, %", "seam"]
    return found


def main() -> None:
    """Read the command line, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="id, weights file or folder")
    parser.add_argument("photographs", type=Path, help="folder of clean photographs")
    parser.add_argument("--tiles", type=int, nargs="*", default=[], help="sides of tiles")
    parser.add_argument("--windows", type=int, nargs="*", default=[], help="sides of windows")
    parser.add_argument("--overlap", type=int, help="pixels shared by tiles")
    parser.add_argument("--enlarge", type=float, nargs="+", default=[1.0], help="factors, in turn")
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
            scores = compare(restorer, photos, degradation, tilings, options.enlarge)
            rows.append([degradation, *figures(scores)])
    except UnveilError as error:
        raise SystemExit(str(error)) from error
    print(f"PSNR in dB, means over {len(photos)} photographs\n")
    print("\n".join(pipe_table(["", *headings(tilings)], rows)))


if __name__ == "__main__":
    main()
