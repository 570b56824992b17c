"""The four ways of `unveil restore`: images or clips here, images on a cluster or a server.

Each function below returns a `Restoration`, which starts when it is called.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

_LARGEST_LIST = 1 << 28

if TYPE_CHECKING:
    from unveil.batch.jobs import Job, Plan
    from unveil.batch.outcome import Outcome
    from unveil.batch.run import Saving
    from unveil.errors import UnveilError

# By the way of restoring: options that it does not read, and those that no other reads.
_NOT_WITH = {
    "--ray": ("server", "shard", "threads"),
    "clips": (
        "server", "shard", "in-place", "compare", "format", "quality", "keep-date", "develop",
    ),
    "--server": (
        "compare", "device", "threads", "in-place", "keep-date", "develop", "max-megapixels",
    ),
}  # fmt: skip
# What ``POST /v1/restore`` takes; the rest is the server's own choice.
_SERVER_FIELDS = (
    "model", "task", "strength", "strength_luma", "strength_chroma", "tile", "ensemble", "quality",
)  # fmt: skip
_ONLY_WITH = {"--ray": ("workers", "cores"), "clips": ("damping",)}

# Called with `share`, which takes a job and the share of it that is done; yields outcomes.
Restoration = Callable[..., "Iterator[Any]"]


def restoring_images(
    jobs: "Sequence[Job]", options: Mapping[str, Any], saving: "Saving"
) -> Restoration:
    """Restore images in this process.

    Args:
        jobs: From `unveil.batch.plan`.
        options: Of `unveil.Restorer`.
        saving: How results are saved.
    """
    from unveil.batch.run import restore_files
    from unveil.inference.restorer import Restorer

    return partial(restore_files, Restorer(**options), jobs, saving)


def restoring_clips(
    clips: Sequence[Path], output: Path | None, name: str, options: Mapping[str, Any], **how: Any
) -> Restoration:
    """Restore clips in this process.

    Args:
        clips: The clips.
        output: Folder, or file for a single clip; None puts results beside the clips.
        name: Template of the results' names.
        options: Of `unveil.Restorer`.
        how: Of `restore_clips`.
    """
    from unveil.cli.clips import restore_clips, targets
    from unveil.inference.restorer import Restorer

    places = targets(clips, output, name)
    restorer = Restorer(**options)

    def restoration(share: Any = None) -> "Iterator[Outcome]":  # noqa: ARG001 (clips show their own)
        return restore_clips(restorer, clips, places, **how)

    return restoration


def restoring_on_cluster(
    made: "Plan",
    address: str,
    workers: int | None,
    cores: int,
    options: Mapping[str, Any],
    saving: "Saving",
) -> Restoration:
    """Restore images by several processes.

    Args:
        made: From `unveil.batch.plan`.
        address: Of the Ray cluster, ``"local"`` or ``"auto"``.
        workers: Processes; None takes as many as there are cores for.
        cores: Of each process.
        options: Of `unveil.Restorer`.
        saving: How results are saved.
    """
    from unveil.batch.cluster import restore_on_cluster

    def restoration(share: Any = None) -> "Iterator[Outcome]":  # noqa: ARG001 (known at the end)
        yield from restore_on_cluster(
            made, address=address, workers=workers, cores=cores, options=options, saving=saving
        )

    return restoration


def restoring_on_server(
    address: str, jobs: "Sequence[Job]", options: Mapping[str, Any], *, force: bool, remember: bool
) -> Restoration:
    """Restore images by a running `unveil serve`.

    Args:
        address: Of the server.
        jobs: From `unveil.batch.plan`.
        options: Of `unveil.Restorer`, and the quality of lossy formats.
        force: Replace what is there.
        remember: Keep a journal beside the results.
    """
    from unveil.batch.remote import Server, restore_on_server

    given = {name: options[name] for name in _SERVER_FIELDS}
    given["ensemble"] = str(options["ensemble"]).lower()
    fields = {name: str(value) for name, value in given.items() if value is not None}
    remote = Server(address, os.environ.get("UNVEIL_TOKEN"))
    return partial(restore_on_server, remote, jobs, fields, force=force, remember=remember)


def listed_paths(file: Path | None) -> list[str]:
    """Return the paths that a text file lists, one a line.

    Raises:
        BadParameter: It cannot be read.
    """
    if file is None:
        return []
    if not file.is_file() or file.stat().st_size > _LARGEST_LIST:
        raise typer.BadParameter(f"{file}: expected a text file of at most 256 MB")
    try:
        text = file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file}: cannot be read: {error.strerror}") from None
    # Not splitlines: names may hold what it takes for the end of a line.
    lines = (os.fsdecode(line.removesuffix(b"\r")) for line in text.split(b"\n"))
    return [line for line in lines if line.strip()]


def clips_among(paths: Sequence[str]) -> list[Path]:
    """Return the clips among the paths; none if they are images.

    Raises:
        BadParameter: They are both, or there are no paths.
    """
    from unveil.batch.jobs import find_videos

    if not paths:
        raise typer.BadParameter("name files or folders to restore, or give --list")
    clips = [clip for clip in find_videos(list(paths)) if not clip.is_dir()]
    if clips and len(clips) < len(paths):
        raise typer.BadParameter("clips and images: restore them in commands of their own")
    return clips


def refuse_together(given: Collection[str], *, clips: bool) -> None:
    """Refuse options that have no meaning together, or for what is restored.

    Args:
        given: Names of the options that were given.
        clips: Whether clips are restored.

    Raises:
        BadParameter: Two do not go together, or one lacks what it is for.
    """
    if "ray" in given and clips:
        raise typer.BadParameter("--ray restores images, not clips")
    way = {"--ray": "ray" in given, "clips": clips, "--server": "server" in given}
    for what, options in _NOT_WITH.items():
        wrong = [f"--{name}" for name in options if way[what] and name in given]
        if wrong:
            hint = ", which does the work" if what == "--server" else ""
            if (what, wrong) == ("--ray", ["--threads"]):
                hint = "; give --cores"
            raise typer.BadParameter(f"{' and '.join(wrong)}: not with {what}{hint}")
    for what, options in _ONLY_WITH.items():
        for name in options:
            if name in given and not way[what]:
                raise typer.BadParameter(f"--{name}: only with {what}")


def _opened(path: Path) -> Any:
    """Open a text file that takes names which are not UTF-8 as they are."""
    return path.open("w", newline="", encoding="utf-8", errors="surrogateescape")


def write_table(
    path: Path,
    outcomes: "Sequence[Outcome]",
    refused: "Sequence[tuple[Path, UnveilError]]",
) -> None:
    """Write what became of each file as CSV.

    Args:
        path: Of the table.
        outcomes: Of the files that were tried.
        refused: Files that could not be tried, each with the reason.
    """
    import csv

    from unveil.imaging.atomic import replacing

    with replacing(path) as temporary, _opened(temporary) as file:
        table = csv.writer(file)
        table.writerow(["source", "target", "status", "reason", "megapixels", "seconds"])
        for o in outcomes:
            numbers = [round(o.megapixels, 6), round(o.seconds, 3)]
            table.writerow([o.source, o.target, o.status, o.reason, *numbers])
        for source, error in refused:
            table.writerow([source, "", "failed", error, 0, 0])
