"""Fine-tune a bundled network on your pairs of photographs, then compare it with where it began.

    python examples/fine_tune.py pairs/train pairs/val --out runs/mine --minutes 60

A folder of pairs has two sub-folders, such as `input` and `target`, with files of the same names.
It does what `unveil train recipes/finetune.yaml` and `unveil evaluate` do; see
docs/fine-tune.md for the layout of pairs and for what to watch.
"""

import argparse
from pathlib import Path

import unveil
from unveil.data import paired_source
from unveil.errors import UnveilError
from unveil.imaging import load_rgb
from unveil.imaging.convert import to_unit
from unveil.metrics import psnr
from unveil.training.recipe_file import load_recipe
from unveil.training.run import train

RECIPE = Path(__file__).parents[1] / "recipes" / "finetune.yaml"


def mean_psnr(restorer: unveil.Restorer | None, pairs: Path) -> float:
    """Return the mean PSNR in dB over a folder of pairs, without a restorer of the inputs."""
    levels = []
    for pair in paired_source(pairs).pairs:
        degraded, clean = load_rgb(pair.degraded), load_rgb(pair.clean)
        made = degraded if restorer is None else restorer(degraded)
        levels.append(psnr(to_unit(made), to_unit(clean), data_range=1))
    return sum(levels) / len(levels)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("train", type=Path, help="folder of pairs to learn from")
    parser.add_argument("validation", type=Path, help="folder of other pairs, to compare on")
    parser.add_argument("--out", type=Path, default=Path("runs/mine"), help="folder of the run")
    parser.add_argument("--model", default="cu_mamba_small", help="bundled network to start from")
    parser.add_argument("--minutes", type=float, default=60, help="how long to train")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the recipe")
    options = parser.parse_args()
    words = [
        f"data.train.0.pairs={options.train}",
        f"evaluation.sets.0.pairs={options.validation}",
        f"model.id={options.model}",
        f"schedule.duration={options.minutes:g}m",
        *options.set,
    ]
    try:
        outcome = train(load_recipe(RECIPE, words), options.out)
        print(outcome.describe(options.out))
        start, end = unveil.Restorer(options.model), unveil.Restorer(options.out / "best")
        rows = {"the input": None, options.model: start, f"{options.out}/best": end}
        for name, restorer in rows.items():
            print(f"{name}: {mean_psnr(restorer, options.validation):.2f} dB")
    except UnveilError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
