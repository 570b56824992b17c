"""Fit the degradation estimate of an all-in-one network again, on photographs of your choice.

    python experiments/fit_readout.py weights.safetensors CLEAN_FOLDER… --held-out OTHER_FOLDER…

`unveil train` does so at the end of a training on noise, rain and haze, with the training's own
photographs; see `unveil.training.degradation_probe`. Printed is how the estimate does on held-out
photographs: the confusion matrix, how often each kind of picture is named right, the error of the
noise level; and what each way of task conditioning gives.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from unveil.data import list_images
from unveil.errors import UnveilError
from unveil.inference.diagnosis import DEGRADATIONS, estimate_degradation
from unveil.training.degradation_probe import FittedProbe, fit_degradation_probe, spread


def describe_quality(fitted: FittedProbe) -> dict[str, Any]:
    """Return what the held-out pictures say of a linear probe."""
    network = fitted.restorer.loaded.network
    seen = [estimate_degradation(fitted.probe, network, e.statistics) for e in fitted.held_out]
    right: dict[str, list[bool]] = {}
    for example, estimate in zip(fitted.held_out, seen, strict=True):
        label = "+".join(example.steps) or "clean"
        expected = set(example.types) or {"clean"}
        right.setdefault(label, []).append(set(estimate.verdict) == expected)
    pairs = [(s.sigma_255, e.sigma_255) for e, s in zip(fitted.held_out, seen, strict=True)]
    errors = [predicted / true - 1 for predicted, true in pairs if predicted * true]
    return {
        "confusion": fitted.probe.confusion,
        "right": {label: f"{sum(marks)}/{len(marks)}" for label, marks in right.items()},
        "median_relative_error_of_sigma": float(np.median(np.abs(errors))) if errors else None,
        "conditioning": fitted.scores,
    }


def _images(folders: list[Path]) -> list[Path]:
    return [path for folder in folders for path in list_images(folder)]


def main() -> None:
    """Read the command line, fit, store, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("clean", type=Path, nargs="+", help="folders of clean photographs")
    parser.add_argument("--held-out", type=Path, nargs="+", help="default: every fifth of CLEAN")
    parser.add_argument("--limit", type=int, default=200, help="photographs to fit on")
    parser.add_argument("--per-photo", type=int, default=6, help="pictures made of each")
    parser.add_argument("--held-out-limit", type=int, default=48)
    parser.add_argument("--held-out-crop", type=int, default=256, help="0: whole photographs")
    parser.add_argument(
        "--tried",
        "--steering-limit",
        type=int,
        default=6,
        help="photographs to try conditioning on",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    start = time.perf_counter()
    try:
        clean = _images(options.clean)
        fitted = fit_degradation_probe(
            options.weights,
            spread(clean, options.limit),
            spread(_images(options.held_out or []), options.held_out_limit),
            per_photo=options.per_photo,
            held_out_crop=options.held_out_crop,
            tried=spread(clean, options.tried),
        )
    except UnveilError as error:
        raise SystemExit(str(error)) from error
    quality = describe_quality(fitted)
    if options.json:
        print(json.dumps(quality))
        return
    print(f"| true \\ predicted | {' | '.join((*DEGRADATIONS, 'clean'))} |\n|---|---|---|---|---|")
    for name, row in zip((*DEGRADATIONS, "clean"), fitted.probe.confusion or [], strict=False):
        print(f"| {name} | {' | '.join(map(str, row))} |")
    for label, share in quality["right"].items():
        print(f"{label}: exactly right {share}")
    if quality["median_relative_error_of_sigma"] is not None:
        print(f"sigma: median error {100 * quality['median_relative_error_of_sigma']:.0f} %")
    for degradation, scores in fitted.scores.items():
        ways = ", ".join(f"{way} {score:.2f}" for way, score in scores.items())
        by_prompts = degradation in fitted.probe.by_prompts
        chosen = "prompts" if by_prompts else fitted.probe.windows.get(degradation, "alone")
        print(f"conditioning against {degradation}: {ways} dB: {chosen}")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
