"""Measure how far a network changes pictures that it must leave as they are.

    unveil data draw drawn --kind any
    python experiments/unchanged_pictures.py mtair_small drawn my-clean-pictures

Every flat gray of 8 bits comes first, then the pictures of the folders, as they are. A picture is
kept when its samples change by at most 1.5 levels of 255 on average, and by at most 12 in 99.9 % of
its pixels. Pictures above a third of a megapixel are cut to their upper left part.
"""

import argparse
from pathlib import Path

import numpy as np

import unveil
from unveil.data import list_images
from unveil.errors import UnveilError
from unveil.imaging import load_rgb

MOST_ON_AVERAGE, MOST_IN_PIXELS = 1.5, 12
_LONGEST = 576


def change(restorer: unveil.Restorer, pixels: np.ndarray) -> tuple[float, float]:
    """Return how far restoring changes a picture, in levels of 255.

    Args:
        restorer: The network.
        pixels: (h, w, 3) uint8.

    Returns:
        The mean absolute change of all samples, and what 99.9 % of the pixels stay below in their
        most changed channel.
    """
    difference = np.abs(restorer(pixels).astype(int) - pixels)
    return float(difference.mean()), float(np.percentile(difference.max(axis=2), 99.9))


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="id, weights file or folder")
    parser.add_argument("folders", type=Path, nargs="*", help="folders of clean pictures")
    options = parser.parse_args()
    try:
        restorer = unveil.Restorer(options.model)
        paths = [path for folder in options.folders for path in list_images(folder)]
    except UnveilError as error:
        parser.error(str(error))
    grays = [change(restorer, np.full((96, 96, 3), level, np.uint8))[0] for level in range(256)]
    print(f"flat grays: {max(grays):.2f} levels at worst, at {int(np.argmax(grays))}")
    rows = [(path, *change(restorer, load_rgb(path)[:_LONGEST, :_LONGEST])) for path in paths]
    changed = [row for row in rows if row[1] > MOST_ON_AVERAGE or row[2] > MOST_IN_PIXELS]
    for path, mean, highest in sorted(changed, key=lambda row: -row[1]):
        print(f"{path}: {mean:.2f} levels on average, {highest:.0f} in 99.9 %")
    print(f"kept: {len(rows) - len(changed)} of {len(rows)} pictures")


if __name__ == "__main__":
    main()
