"""Restore photographs and show before and after.

    python examples/restore_photos.py                    # the samples, degraded here
    python examples/restore_photos.py my.jpg other.png   # your own
    python examples/restore_photos.py --model identity   # any model's id or weights file

The samples are degraded by the package's own degradations with fixed seeds, so that there is a
truth to measure against: PSNR in dB on 8-bit RGB, higher is better.
"""

import argparse
from pathlib import Path

import numpy as np

import unveil
from unveil.batch import Saving, plan, restore_files
from unveil.degradations import parse
from unveil.errors import UnveilError
from unveil.imaging import load_rgb, save_png
from unveil.metrics import psnr
from unveil.models.registry import get_record

SAMPLES = Path(__file__).parent / "samples"
# Photograph, how it is degraded, and the task a model must do to be asked.
CASES = (
    ("astronaut.png", "camera:shot=0.008,read=0.006,correlation=0.5", "denoise"),
    ("chelsea.png", "noise:sigma_255=50", "denoise"),
    ("coffee.png", "rain:light", "derain"),
    ("rocket.jpg", "haze:light", "dehaze"),
)
_GAP = 8


def restore_samples(restorer: unveil.Restorer, folder: Path) -> None:
    """Degrade each sample, restore it, print PSNR before and after, write them side by side."""
    width = max(len(degradation) for _, degradation, _ in CASES) + 2
    print(f"{'photo':<16}{'degradation':<{width}}{'before':>9}{'after':>9}")
    tasks = tasks_of(restorer.loaded.name)
    for i, (name, degradation, task) in enumerate(CASES):
        if task not in tasks:
            print(
                f"{name:<16}{degradation:<{width}}left out: {restorer.loaded.name} does not {task}"
            )
            continue
        clean = load_rgb(SAMPLES / name)
        pipeline = parse(degradation)
        degraded = pipeline((clean / 255).astype(np.float32), np.random.default_rng(i))
        degraded_bytes = np.clip(np.rint(degraded * 255), 0, 255).astype(np.uint8)
        restored = restorer(degraded_bytes)
        before, after = (psnr(x, clean, data_range=255) for x in (degraded_bytes, restored))
        print(f"{name:<16}{degradation:<{width}}{before:>6.2f} dB{after:>6.2f} dB")
        gap = np.full((len(clean), _GAP, 3), 255, np.uint8)
        beside = np.concatenate([degraded_bytes, gap, restored, gap, clean], axis=1)
        save_png(folder / f"{Path(name).stem}.before-after-truth.png", beside)


def tasks_of(name: str) -> tuple[str, ...]:
    """Return the tasks a registered model was made for; all for any other."""
    if name in unveil.list_models():
        return get_record(name).tasks
    return tuple(task for _, _, task in CASES)


def restore_own(restorer: unveil.Restorer, photos: list[str], folder: Path) -> int:
    """Restore the user's photos with a side-by-side each; return how many failed."""
    made = plan(photos, output=folder)
    outcomes = list(restore_files(restorer, made.jobs, Saving(force=True, compare=True)))
    failures = [o.reason for o in outcomes if o.status == "failed"]
    failures += [str(error) for _, error in made.failed]
    for outcome in outcomes:
        if outcome.status == "restored":
            print(outcome.target)
    for failure in failures:
        print(failure)
    return len(failures)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", nargs="*", help="your photos; none: the samples")
    parser.add_argument(
        "--model",
        help="id or weights file; default: all-in-one, else denoiser",
    )
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for pictures")
    options = parser.parse_args()
    try:
        restorer = unveil.Restorer(options.model)
    except UnveilError as error:
        parser.error(str(error))
    options.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    if options.photos:
        failed = restore_own(restorer, options.photos, options.output)
    else:
        restore_samples(restorer, options.output)
    if any(options.output.iterdir()):
        print(f"pictures are in {options.output.resolve()}")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
