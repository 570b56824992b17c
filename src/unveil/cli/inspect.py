"""`unveil inspect`: the degradation estimate of photos."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from unveil.cli.shared_options import AsJson, Device, MaxMegapixels
from unveil.cli.wording import complain, print_json, skipped_folders

if TYPE_CHECKING:
    from unveil.inference.diagnosis import DegradationEstimate


def inspect(
    paths: Annotated[list[str], typer.Argument(help="Image files, folders or patterns.")],
    model: Annotated[
        str | None,
        typer.Option(help="A model's id or a weights file; default: the bundled all-in-one model."),
    ] = None,
    max_megapixels: MaxMegapixels = 250.0,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Go into folders below the given ones.")
    ] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Say whether a photo is noisy (and how much), rainy, hazy or clean."""
    from unveil.batch.jobs import find_images
    from unveil.errors import ImageFileError
    from unveil.imaging import read_image
    from unveil.inference.inspect import inspect_image
    from unveil.inference.restorer import Restorer

    files, listing = find_images(paths, recursive=recursive)
    restorer = Restorer(model, device=device, max_megapixels=max_megapixels)
    results: list[dict[str, Any]] = []
    failures = [str(error) for _, error in listing.failed]
    for path in files:
        try:
            image = read_image(path, max_megapixels=max_megapixels)
        except ImageFileError as error:
            failures.append(str(error))
            continue
        seen = inspect_image(restorer, image)
        results.append({"source": str(path), **_entry(seen)})
        if not as_json:
            typer.echo(f"{path}: {_sentence(seen)}")
    if as_json:
        print_json({"results": results})
    for failure in failures:
        complain(failure)
    if listing.left_out:
        complain(skipped_folders(listing.left_out))
    if failures:
        raise typer.Exit(1)


def _entry(seen: "DegradationEstimate") -> dict[str, Any]:
    chances = {degradation: round(chance, 4) for degradation, chance in seen.probabilities.items()}
    return {
        "verdict": list(seen.verdict),
        "probabilities": chances,
        "sigma_255": round(seen.sigma_255, 1),
    }


def _sentence(seen: "DegradationEstimate") -> str:
    def one(degradation: str) -> str:
        level = f" (σ ≈ {seen.sigma_255:.0f})" if degradation == "noise" else ""
        chance = seen.probabilities.get(degradation)
        return f"{degradation}{level}" + (f" {100 * chance:.0f} %" if chance is not None else "")

    others = [
        f"{c} {100 * p:.0f} %" for c, p in seen.probabilities.items() if c not in seen.verdict
    ]
    return ", ".join(map(one, seen.verdict)) + (f"; not {', '.join(others)}" if others else "")
