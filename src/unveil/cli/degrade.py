"""`unveil degrade`: make degraded copies of photos, or a sheet of all degradations."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unveil.cli.shared_options import AsJson
from unveil.cli.wording import complain

if TYPE_CHECKING:
    from unveil.degradations import Pipeline
    from unveil.degradations.records import AnyParameter


def degrade(
    photos: Annotated[
        list[Path] | None, typer.Argument(help="Photos, or folders of photos.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the results.")
    ] = None,
    description: Annotated[
        str,
        typer.Option("--with", help='What to do, e.g. "rain:density=0.6+jpeg:quality=40".'),
    ] = "",
    seed: Annotated[int, typer.Option(help="Of all randomness.", min=0)] = 0,
    depth: Annotated[
        Path | None,
        typer.Option(help="Depth map for haze, brighter is farther; for one photo only."),
    ] = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Write a contact sheet: every degradation at three strengths, and its presets.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over existing files.")] = False,
    as_json: AsJson = False,
    listing: Annotated[
        bool, typer.Option("--list", help="List the degradations and stop.")
    ] = False,
) -> None:
    """Write a degraded PNG of each photo, RGB at its bit depth, and print the values drawn.

    A photo's randomness depends on the seed and its file name only, so that it is degraded the
    same way alone and among others.
    """
    from unveil.degradations import parse
    from unveil.errors import ImageFileError, InputError

    if listing:
        typer.echo(json.dumps(_catalogue(), indent=2) if as_json else _catalogue_text())
        return
    if not photos or output is None:
        raise typer.BadParameter("name photos and, with --output, a folder for the results")
    _require_folder(output)
    if not description and not preview:
        raise InputError('nothing to do: give --with "rain:light", or --preview')
    pipeline = parse(description)
    found = _photos(photos, output)
    if not found:
        raise InputError(f"{photos[0]}: holds no photos")
    if depth is not None and len(found) != 1:
        raise InputError(f"--depth belongs to one photo, but {len(found)} were given")
    if depth is not None and not any(step.degradation.name == "haze" for step in pipeline.steps):
        raise InputError(f"--depth is of use to haze only, which {description!r} does not add")
    failures: list[str] = []
    for photo, target, sheet in _targets(found, output, bool(description), preview, force):
        record: dict[str, Any] = {"photo": str(photo)}
        try:
            if target is not None:
                drawn = _degrade(photo, target, pipeline, seed, depth)
                record |= {"degraded": str(target), "with": drawn}
            if sheet is not None:
                _preview(photo, sheet, seed)
                record["preview"] = str(sheet)
        except ImageFileError as error:
            failures.append(str(error))
            continue
        typer.echo(json.dumps(record) if as_json else "  ".join(record.values()))
    for failure in failures:
        complain(failure)
    if failures:
        raise typer.Exit(1)


def _require_folder(output: Path) -> None:
    from unveil.imaging import IMAGE_SUFFIXES

    if output.suffix.lower() in IMAGE_SUFFIXES and not output.is_dir():
        raise typer.BadParameter(f"output {output}: names a file, but results go into a folder")


def _catalogue() -> dict[str, Any]:
    """Return the degradations as plain data; `p` and `side` are every step's."""
    from dataclasses import replace

    from unveil.degradations import CATALOGUE
    from unveil.degradations.pipeline import PROBABILITY, SIDE

    return {
        "identity": {"about": "changes nothing", "parameters": {}, "presets": []},
        **{
            entry.name: {
                "about": entry.about,
                "parameters": {
                    p.name: _facts(p)
                    for p in (*entry.parameters, PROBABILITY, replace(SIDE, default=entry.side))
                },
                "presets": list(entry.presets),
            }
            for entry in CATALOGUE.values()
        },
    }


def _facts(parameter: "AnyParameter") -> dict[str, Any]:
    names = ("about", "low", "high", "names", "default")
    return {name: getattr(parameter, name) for name in names if hasattr(parameter, name)}


def _catalogue_text() -> str:
    lines = []
    for name, entry in _catalogue().items():
        lines.append(f"{name}: {entry['about']}")
        for parameter, facts in entry["parameters"].items():
            bounds = (
                f"{'|'.join(facts['names'])}, default {facts['default']}"
                if "names" in facts
                else "{low:g}..{high:g}, default {default:g}".format(**facts)
            )
            lines.append(f"  {parameter:<12} {facts['about']} ({bounds})")
        if entry["presets"]:
            lines.append(f"  presets      {', '.join(entry['presets'])}")
    return "\n".join(lines)


def _photos(given: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """List (photo, its place below the output folder); results of earlier runs are no photos."""
    from unveil.data import list_images

    found: list[tuple[Path, Path]] = []
    for path in given:
        if path.is_dir():
            results, root = output.resolve(), path.resolve()
            inside = results != root and results.is_relative_to(root)
            found += [
                (image, image.relative_to(path))
                for image in list_images(path)
                if not (inside and image.resolve().is_relative_to(results))
            ]
        else:
            found.append((path, Path(path.name)))
    return found


def _targets(
    found: list[tuple[Path, Path]], output: Path, degraded: bool, preview: bool, force: bool
) -> list[tuple[Path, Path | None, Path | None]]:
    """Plan every file before the first is written; two results never share one."""
    from unveil.errors import OutputError

    jobs: list[tuple[Path, Path | None, Path | None]] = []
    taken: dict[Path, Path] = {}
    for photo, place in found:
        target = output / place.with_suffix(".png") if degraded else None
        sheet = output / place.with_name(f"{place.stem}_preview.png") if preview else None
        for path in (target, sheet):
            if path is None:
                continue
            if path in taken:
                raise OutputError(f"{photo} and {taken[path]} would both become {path}; rename one")
            if path.resolve() == photo.resolve():
                raise OutputError(f"{path} is the photo itself; choose another folder")
            if path.exists() and not force:
                raise OutputError(f"{path} is already there; choose another folder or add --force")
            taken[path] = photo
        jobs.append((photo, target, sheet))
    return jobs


def _degrade(photo: Path, target: Path, pipeline: "Pipeline", seed: int, depth: Path | None) -> str:
    import os
    import zlib

    import numpy as np

    from unveil.degradations import Frame
    from unveil.imaging import load_rgb, save_png
    from unveil.imaging.atomic import make_folder
    from unveil.imaging.convert import to_integers, to_unit

    pixels = load_rgb(photo)
    frame = None
    if depth is not None:
        far = load_rgb(depth)[..., 0].astype(np.float32)
        frame = Frame(0, 0, pixels.shape[0], pixels.shape[1], far / max(float(far.max()), 1e-6))
    rng = np.random.default_rng((seed, zlib.crc32(os.fsencode(photo.name))))
    drawn = pipeline.draw(rng)
    degraded = drawn(to_unit(pixels), rng, frame)
    dtype = np.uint8 if pixels.dtype == np.uint8 else np.uint16
    make_folder(target.parent)
    save_png(target, to_integers(degraded, dtype))
    return str(drawn)


def _preview(photo: Path, sheet: Path, seed: int) -> None:
    from unveil.degradations.contact_sheet import contact_sheet
    from unveil.imaging import load_rgb, save_png
    from unveil.imaging.atomic import make_folder
    from unveil.imaging.convert import to_uint8, to_unit

    pixels = load_rgb(photo)
    drawn = contact_sheet(to_unit(pixels), seed=seed)
    make_folder(sheet.parent)
    save_png(sheet, to_uint8(drawn))
