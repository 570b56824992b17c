"""Teach `unveil inspect` what an all-in-one network sees, once it is trained.

    python experiments/fit_readout.py weights.safetensors CLEAN_FOLDER… --held-out OTHER_FOLDER…

Clean photographs are degraded with noise, rain, haze, noise on top of rain or haze, or left clean,
some of them gray, dim, faded, soft or as a JPEG; drawn pictures stand among the clean ones. The
probe is fitted on the network's statistics of crops and stored in the weights file. Printed is how
it does on the held-out photographs: the confusion matrix, how often each kind of picture is
named right, and the error of the noise level.

Then `--task derain` and `--task dehaze` are fitted: prompt weights set to their mean over such
pictures, or statistics gathered in windows, whichever restores photographs of CLEAN better than the
network left alone by more than 0.05 dB; else the task changes nothing.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unveil.data import draw_generated, generated_kinds, list_images
from unveil.degradations import parse
from unveil.errors import UnveilError
from unveil.imaging import load_rgb
from unveil.inference import Restorer
from unveil.inference.diagnosis import (
    CAUSES,
    LinearProbe,
    estimate_degradation,
    fit_probe,
    store_probe,
)
from unveil.inference.tiling import TiledInference
from unveil.layers.statistics import GlobalStatistics
from unveil.metrics import psnr

Pixels = np.ndarray[Any, Any]

# Below this nobody sees the noise of an 8-bit picture, and nothing is lost by calling it clean.
_LEAST_SIGMA_255 = 2.5
_GAUSSIAN = "noise_uint8:sigma_255={sigma}"
_CAMERA = "camera:shot=0.0005..0.012,read=0.0005..0.008,correlation=0..1,common=0..0.8"
_STEPS = {
    "noise": (_GAUSSIAN, _GAUSSIAN, _GAUSSIAN + ",common=0..1", _CAMERA, "sensor:any"),
    "gray": ("gray",),
    # The noise of a black-and-white photograph: equal in all channels.
    "equal": (_GAUSSIAN + ",common=1",),
    "rain": ("rain:light", "rain:heavy", "rain:streaks", "rain:layer", "rain:sheet"),
    "haze": ("haze:light", "haze:beta=0.8..3.5,airlight=0.7..0.95"),
    "jpeg": ("jpeg:quality=70..95",),
    "soft": ("soft:sigma=0.5..3",),
    "tone": ("tone:any", "tone:dim", "tone:high_key", "tone:low_key", "tone:flat", "tone:faded"),
}
# In turn: what is done to a photograph. Only noise, rain and haze are degradations here; a drawn
# picture takes the photograph's place.
_KINDS: tuple[tuple[str, ...], ...] = (
    (), ("noise",), ("rain",), ("haze",), ("rain", "noise"), ("haze", "noise"), ("jpeg",),
    ("gray",), ("gray", "equal"), ("noise",), (), ("rain",), ("haze",), ("tone",), ("drawn",),
    ("tone", "noise"), ("soft",), ("rain", "jpeg"), ("haze", "jpeg"), ("drawn",), ("tone", "soft"),
)  # fmt: skip
_HELD_OUT_KINDS: tuple[tuple[str, ...], ...] = (
    (), ("noise",), ("rain",), ("haze",), ("tone",), ("drawn",), ("gray", "equal"),
)  # fmt: skip
_CROPS = (128, 192, 192, 256)
_TASKS = {"rain": ("rain:light", "rain:heavy"), "haze": ("haze:light", "haze:heavy")}
_WINDOWS = (96, 128, 192)
_LEAST_GAIN = 0.05


@dataclass(frozen=True)
class Shown:
    """A picture with what is known of it and what the network gathered from it."""

    kind: tuple[str, ...]
    causes: frozenset[str]
    sigma_255: float
    context: GlobalStatistics


def show(
    restorer: Restorer,
    paths: Sequence[Path],
    kinds: Sequence[tuple[str, ...]],
    *,
    per_photo: int,
    crops: Sequence[int],
    seed: int,
) -> Iterator[Shown]:
    """Yield, for each photograph in some of the kinds, what the network gathers."""
    rng = np.random.default_rng(seed)
    turn = 0
    for path in paths:
        clean = (load_rgb(path) / 255).astype(np.float32)
        for _ in range(per_photo):
            kind = kinds[turn % len(kinds)]
            turn += 1
            picture = _crop(clean, int(rng.choice(crops)), rng)
            if "drawn" in kind:
                drawn = str(rng.choice(generated_kinds("any")))
                picture = draw_generated(drawn, min(picture.shape[:2]), rng)
            degraded, causes, sigma = degrade(picture, kind, rng)
            pixels = np.clip(np.rint(degraded * 255), 0, 255).astype(np.uint8)
            yield Shown(kind, causes, sigma, restorer.engine.collect_statistics(pixels))


def degrade(
    clean: Pixels, kind: Sequence[str], rng: np.random.Generator
) -> tuple[Pixels, frozenset[str], float]:
    """Degrade a photograph; return it with its causes and the noise level that came out."""
    image, causes, sigma = clean, set(kind) & {"rain", "haze"}, 0.0
    for step in kind:
        before = image
        if step == "drawn":
            continue
        level = float(np.exp(rng.uniform(np.log(4), np.log(55))))
        image = parse(str(rng.choice(_STEPS[step])).format(sigma=level))(image, rng)
        if step in ("noise", "equal"):
            sigma = float(np.std(np.clip(image, 0, 1) - before)) * 255
    if sigma > _LEAST_SIGMA_255:
        causes.add("noise")
    return image, frozenset(causes), sigma if "noise" in causes else 0.0


def _crop(image: Pixels, side: int, rng: np.random.Generator) -> Pixels:
    """Cut a square at random; a side of 0 keeps the whole photograph."""
    if side == 0:
        return image
    top, left = (int(rng.integers(0, max(n - side, 0) + 1)) for n in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def _spread(folders: Sequence[Path], limit: int) -> list[Path]:
    """Take at most so many photographs of all folders, evenly."""
    found = [path for folder in folders for path in list_images(folder)]
    return [found[i] for i in np.linspace(0, len(found) - 1, min(limit, len(found))).astype(int)]


def choose_steering(
    restorer: Restorer, probe: LinearProbe, paths: Sequence[Path]
) -> tuple[LinearProbe, dict[str, dict[str, float]]]:
    """Find what helps each task; return the linear probe with it and the PSNR of each way in dB."""
    engine = restorer.engine
    windows = dict(probe.windows)
    by_prompts: list[str] = []
    scores: dict[str, dict[str, float]] = {}
    for cause, degradations in _TASKS.items():
        means = probe.means.get(cause, {})
        prompts = {name: torch.tensor([values]) for name, values in means.items()}
        ways = {
            "alone": engine,
            **({"prompts": replace(engine, conditioning=prompts)} if means else {}),
        }
        for side in _WINDOWS:
            ways[str(side)] = replace(engine, tiling=replace(engine.tiling, window=side))
        found = {way: _mean_psnr(ways[way], paths, degradations) for way in ways}
        best = max(found, key=lambda way: found[way])
        if best != "alone" and found[best] > found["alone"] + _LEAST_GAIN:
            windows |= {} if best == "prompts" else {cause: int(best)}
            by_prompts += [cause] if best == "prompts" else []
        scores[cause] = found
    return replace(probe, windows=windows, by_prompts=tuple(by_prompts)), scores


def _mean_psnr(engine: TiledInference, paths: Sequence[Path], degradations: Sequence[str]) -> float:
    scores = []
    for number, path in enumerate(paths):
        rng = np.random.default_rng(number)
        clean = _crop((load_rgb(path) / 255).astype(np.float32), 384, rng)
        for degradation in degradations:
            degraded = np.clip(parse(degradation)(clean, rng), 0, 1).astype(np.float32)
            restored = np.empty_like(degraded)
            engine.restore(degraded, restored)
            scores.append(psnr(np.clip(restored, 0, 1), clean, data_range=1))
    return float(np.mean(scores))


def describe_quality(
    probe: LinearProbe, restorer: Restorer, held_out: list[Shown]
) -> dict[str, Any]:
    """Return what the held-out pictures say of a linear probe."""
    seen = [
        estimate_degradation(probe, restorer.loaded.network, shown.context) for shown in held_out
    ]
    right: dict[str, list[bool]] = {}
    for shown, told in zip(held_out, seen, strict=True):
        label = "+".join(shown.kind) or "clean"
        right.setdefault(label, []).append(set(told.verdict) == (set(shown.causes) or {"clean"}))
    pairs = zip(held_out, seen, strict=True)
    errors = [told.sigma_255 / h.sigma_255 - 1 for h, told in pairs if h.sigma_255 * told.sigma_255]
    return {
        "confusion": probe.confusion,
        "right": {label: f"{sum(marks)}/{len(marks)}" for label, marks in right.items()},
        "median_relative_error_of_sigma": float(np.median(np.abs(errors))) if errors else None,
    }


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
    parser.add_argument("--steering-limit", type=int, default=6, help="photographs to steer on")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    start = time.perf_counter()
    try:
        restorer = Restorer(options.weights)
        paths = _spread(options.clean, options.limit)
        others = _spread(options.held_out, options.held_out_limit) if options.held_out else None
    except UnveilError as error:
        raise SystemExit(str(error)) from error
    held = others or paths[::5]
    fitting = [path for path in paths if path not in held]
    if not fitting:
        raise SystemExit("no photographs to fit on are left: name more, or others to hold out")
    fit = show(restorer, fitting, _KINDS, per_photo=options.per_photo, crops=_CROPS, seed=0)
    crops = (options.held_out_crop,)
    shown = show(
        restorer, held, _HELD_OUT_KINDS, per_photo=len(_HELD_OUT_KINDS), crops=crops, seed=1
    )
    held_out = list(shown)
    probe = fit_probe(
        restorer.loaded.network,
        ((s.context, s.causes, s.sigma_255) for s in fit),
        held_out=((s.context, s.causes, s.sigma_255) for s in held_out),
    )
    tried = _spread(options.clean, options.steering_limit)
    probe, steering = choose_steering(restorer, probe, tried)
    store_probe(options.weights, probe)
    quality = describe_quality(probe, restorer, held_out) | {"steering": steering}
    if options.json:
        print(json.dumps(quality))
        return
    print(f"| true \\ told | {' | '.join((*CAUSES, 'clean'))} |\n|---|---|---|---|---|")
    for name, row in zip((*CAUSES, "clean"), probe.confusion or [], strict=False):
        print(f"| {name} | {' | '.join(map(str, row))} |")
    for label, share in quality["right"].items():
        print(f"{label}: exactly right {share}")
    if quality["median_relative_error_of_sigma"] is not None:
        print(f"sigma: median error {100 * quality['median_relative_error_of_sigma']:.0f} %")
    for cause, found in quality["steering"].items():
        told = ", ".join(f"{way} {score:.2f}" for way, score in found.items())
        chosen = "prompts" if cause in probe.by_prompts else probe.windows.get(cause, "alone")
        print(f"steering against {cause}: {told} dB: {chosen}")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
