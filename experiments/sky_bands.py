"""Measure the bands that networks leave in skies.

    python experiments/sky_bands.py                       # the bundled all-in-one network
    python experiments/sky_bands.py mtair_small runs/mine/best

Skies are smooth, so that errors along whole rows or columns show. Two kinds are measured with
their truth known: two parts of the hazy photograph that `restore_photos.py` makes, and generated
skies with haze. Figures are levels of 255, see `unveil.metrics.banding`.
"""

import argparse
import runpy
import tempfile
from pathlib import Path

import numpy as np

from unveil.data.generated import cloud_field
from unveil.data.toy import draw_picture
from unveil.degradations import parse
from unveil.evaluation import (
    evaluate,
    load_method,
    make_cases,
    parse_patch,
    protocol_named,
    to_markdown,
)
from unveil.imaging import load_rgb, save_png

_EXAMPLES = Path(__file__).parents[1] / "examples"
ROCKET = ("rocket=10:250,230:300", "rocket=5:110,200:440")
# The same depth everywhere: what the input errs by is as smooth as the sky.
HAZE = "haze:scene=even,beta=0.6..1.5,airlight=0.7..0.95+bits"
_SIDE, _GROUND = 384, 256


def write_rocket(folder: Path) -> None:
    """Write the hazy photograph and its truth as `restore_photos.py` makes them."""
    cases = runpy.run_path(str(_EXAMPLES / "restore_photos.py"))["CASES"]
    ((number, name, degradation),) = (
        (i, name, text) for i, (name, text, _) in enumerate(cases) if name == "rocket.jpg"
    )
    clean = load_rgb(_EXAMPLES / "samples" / name)
    scaled = (clean / 255).astype(np.float32)
    hazy = parse(degradation)(scaled, np.random.default_rng(number))
    for part, pixels in (("target", clean), ("input", np.rint(np.clip(hazy, 0, 1) * 255))):
        (folder / part).mkdir(parents=True)
        save_png(folder / part / "rocket.png", pixels.astype(np.uint8))


def write_skies(folder: Path, count: int) -> None:
    """Write skies over a ground that shows the haze.

    One tone above, another at the horizon, and the faintest of clouds.
    """
    folder.mkdir()
    down = np.clip(np.arange(_SIDE) / _GROUND, 0, 1)[:, None, None]
    for number in range(count):
        rng = np.random.default_rng(number)
        level, blue = rng.uniform(0.25, 0.8), rng.uniform(0, 0.3)
        zenith = level + blue * np.array([-0.5, 0, 0.6])
        horizon = np.clip(zenith + rng.uniform(0, 0.3) * np.array([1, 0.9, 0.6]), 0, 1)
        clouds = rng.uniform(0, 0.01) * cloud_field(_SIDE, rng, 2.5)[..., None]
        sky = zenith + (horizon - zenith) * down + clouds
        pixels = np.clip(255 * sky + rng.random((_SIDE, _SIDE, 1)), 0, 255).astype(np.uint8)
        pixels[_GROUND:] = draw_picture(_SIDE, rng)[_GROUND:]
        save_png(folder / f"sky_{number:02d}.png", pixels)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", default=["mtair_small"], help="ids or weights files")
    parser.add_argument("--skies", type=int, default=6, help="generated skies")
    options = parser.parse_args()
    protocol = protocol_named("paired-rgb")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rocket(folder / "photo")
        write_skies(folder / "skies", options.skies)
        for model in options.models:
            restorer = load_method(model)
            for data, patches, texts in (
                ("photo", ROCKET, ()),
                ("skies", (f"sky*=0:{_GROUND},0:{_SIDE}",), (HAZE,)),
            ):
                report = evaluate(
                    restorer,
                    protocol,
                    folder / data,
                    cases=make_cases([], texts),
                    patches=[parse_patch(patch) for patch in patches],
                )
                print(to_markdown(report))


if __name__ == "__main__":
    main()
