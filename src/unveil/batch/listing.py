"""Which files inputs stand for: themselves, what a folder holds, what a pattern matches."""

import glob
import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from unveil.batch.in_place import backup_name
from unveil.batch.journal import Journal
from unveil.errors import ImageFileError
from unveil.imaging.formats import READ_SUFFIXES

if TYPE_CHECKING:
    from unveil.batch.jobs import Plan

COMPARISON = ".compare.png"
# Folders of thumbnails, previews, trash and libraries that only their own program may change:
# Synology's, QNAP's, Windows', macOS', Lightroom's, Capture One's. Hidden ones are left out, too.
_LEFT_OUT = (
    "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin",
    "system volume information", "lost+found", "__macosx", "*.photoslibrary", "*.photolibrary",
    "*.aplibrary", "*.lrdata", "*.lrlibrary", "captureone",
)  # fmt: skip


def sources(
    inputs: Iterable[str | Path],
    output: Path | None,
    recursive: bool,
    made: "Plan",
    in_place: bool = False,
) -> Iterator[tuple[Path, Path, bool]]:
    """Yield each file once, with its folder relative to the input it was found under.

    Args:
        inputs: Files, folders and patterns.
        output: Folder for results, which is not gone into.
        recursive: Go into folders below the given ones.
        made: Plan that inputs which cannot be tried, and folders left out, are noted in.
        in_place: Results replace their inputs.

    Yields:
        The file, its folder, and whether the file itself was named.
    """
    seen: set[Path] = set()
    for given in inputs:
        found = list(expanded(given))
        if not found:
            made.failed.append((Path(given), ImageFileError(f"{given}: no file has such a name")))
        for path in found:
            folder = os.path.isdir(path)
            files = _walk(path, output, recursive, made, in_place) if folder else [path]
            for file in files:
                key = Path(os.path.abspath(file))
                if key not in seen:
                    seen.add(key)
                    relative = file.parent.relative_to(path) if folder else Path()
                    yield file, relative, not folder


def expanded(given: str | Path) -> list[Path]:
    """Return what a name stands for: itself, or the files that a pattern matches.

    Parts that exist as they are written are no patterns: folders are called "IMG [2019]".
    """
    path = Path(given)
    if os.path.lexists(path) or not glob.has_magic(str(given)):
        return [path]
    found = {Path(path.anchor)}
    for part in path.parts[1:] if path.anchor else path.parts:
        found = {below for above in found for below in _below(above, part)}
    return sorted(found)


def _below(folder: Path, part: str) -> list[Path]:
    """Return what one part of a pattern matches in a folder."""
    if os.path.lexists(folder / part):
        return [folder / part]
    if part == "**":
        names = glob.iglob("**", root_dir=folder, recursive=True)
        return [folder, *(folder / name for name in names if os.path.isdir(folder / name))]
    if not glob.has_magic(part):
        return []
    return [folder / name for name in glob.iglob(part, root_dir=folder)]


def _walk(
    folder: Path, output: Path | None, recursive: bool, made: "Plan", in_place: bool
) -> list[Path]:
    """List the image files below `folder`, sorted; links are followed, but not in circles.

    Results of earlier runs are left out, unless there is nothing else: then they are what to start
    from.
    """
    found: list[Path] = []
    closed = None if output is None else os.path.realpath(output)
    _enter(folder, closed, recursive, made, found, ())
    if not found:
        deeper = not recursive and _has_folders(folder)
        hint = "; give --recursive to look into folders below it" if deeper else ""
        made.failed.append((folder, ImageFileError(f"{folder}: holds no image files{hint}")))
    journal = Journal()
    found = [file for file in found if not journal.is_original(file)]
    return [file for file in found if not _is_result(file, journal, in_place)] or found


def _enter(
    folder: Path,
    closed: str | None,
    recursive: bool,
    made: "Plan",
    found: list[Path],
    above: tuple[str, ...],
) -> None:
    real = os.path.realpath(folder)
    if real in above:
        made.failed.append((folder, ImageFileError(f"{folder}: leads back to a folder above it")))
        return
    if above and real == closed:
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        why = error.strerror or str(error)
        made.failed.append((folder, ImageFileError(f"{folder}: cannot be listed: {why}")))
        return
    for entry in entries:
        if entry.name.startswith(".") and not (recursive and os.path.isdir(entry)):
            continue
        if os.path.isdir(entry):
            if recursive and _is_left_out(entry.name):
                made.left_out.append(entry)
            elif recursive:
                _enter(entry, closed, recursive, made, found, (*above, real))
        elif entry.suffix.lower() in READ_SUFFIXES:
            found.append(entry)


def _has_folders(folder: Path) -> bool:
    """Return whether a folder has others in it that `--recursive` would go into."""
    try:
        return any(
            os.path.isdir(entry) and not _is_left_out(entry.name) for entry in folder.iterdir()
        )
    except OSError:
        return False


def _is_left_out(name: str) -> bool:
    """Return whether a folder holds copies that other programs keep, or what was thrown away.

    >>> [_is_left_out(name) for name in ("@eaDir", ".thumbnails", "Holiday", "A Previews.lrdata")]
    [True, True, False, True]
    """
    lower = name.lower()
    return lower.startswith(".") or any(fnmatch(lower, pattern) for pattern in _LEFT_OUT)


def _is_result(file: Path, journal: Journal, in_place: bool) -> bool:
    """Return whether an earlier run made `file`, or made it beside a result.

    What was restored in place is listed again by a run in place, which says that it is done.
    """
    if in_place and journal.is_original(backup_name(file)):
        return False
    compared = file.with_name(file.name.removesuffix(COMPARISON))
    return journal.contains(file) or journal.contains(compared)
