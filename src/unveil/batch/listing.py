"""Which files inputs stand for: themselves, what a folder holds, what a pattern matches."""

import glob
import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from unveil.batch.in_place import backup_name
from unveil.batch.journal import Journal
from unveil.errors import ImageFileError, UnveilError
from unveil.imaging.formats import READ_SUFFIXES

COMPARISON = ".compare.png"
# Folders of thumbnails, previews, trash and libraries that only their own program may change:
# Synology's, QNAP's, Windows', macOS', Lightroom's, Capture One's. Hidden ones are left out, too.
_LEFT_OUT = (
    "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin",
    "system volume information", "lost+found", "__macosx", "*.photoslibrary", "*.photolibrary",
    "*.aplibrary", "*.lrdata", "*.lrlibrary", "captureone",
)  # fmt: skip


class Listing:
    """Lists files, and notes what it cannot list.

    Args:
        output: Folder for results, which is not gone into.
        recursive: Go into folders below the given ones.
        in_place: Results replace their inputs.

    Attributes:
        failed: Inputs that cannot be tried, each with the reason.
        left_out: Folders that were not gone into: thumbnails, trash and the like.
    """

    def __init__(
        self, *, output: Path | None = None, recursive: bool = False, in_place: bool = False
    ) -> None:
        self.failed: list[tuple[Path, UnveilError]] = []
        self.left_out: list[Path] = []
        self._closed = None if output is None else os.path.realpath(output)
        self._recursive = recursive
        self._in_place = in_place

    def files(self, inputs: Iterable[str | Path]) -> Iterator[tuple[Path, Path, bool]]:
        """Yield each file that files, folders and patterns stand for, once.

        Yields:
            The file, its folder relative to the input it was found under, and whether the file
            itself was named.
        """
        seen: set[Path] = set()
        for given in inputs:
            found = list(expanded(given))
            if not found:
                self._fail(Path(given), "no file has such a name")
            for path in found:
                folder = os.path.isdir(path)
                for file in self._below(path) if folder else [path]:
                    key = Path(os.path.abspath(file))
                    if key not in seen:
                        seen.add(key)
                        relative = file.parent.relative_to(path) if folder else Path()
                        yield file, relative, not folder

    def _fail(self, path: Path, reason: str) -> None:
        self.failed.append((path, ImageFileError(f"{path}: {reason}")))

    def _below(self, folder: Path) -> list[Path]:
        """List the image files below `folder`, sorted.

        Results of earlier runs are left out, unless there is nothing else: then they are what to
        start from.
        """
        found = list(self._walk(folder))
        if not found:
            deeper = not self._recursive and _has_folders(folder)
            hint = "; give --recursive to look into folders below it" if deeper else ""
            self._fail(folder, f"holds no image files{hint}")
        journal = Journal()
        found = [file for file in found if not journal.is_original(file)]
        return [file for file in found if not _is_result(file, journal, self._in_place)] or found

    def _walk(self, folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
        """Yield image files; links are followed, but not in circles."""
        real = os.path.realpath(folder)
        if real in above:
            self._fail(folder, "leads back to a folder above it")
            return
        if above and real == self._closed:
            return
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            self._fail(folder, f"cannot be listed: {error.strerror or error}")
            return
        for entry in entries:
            if entry.name.startswith(".") and not (self._recursive and os.path.isdir(entry)):
                continue
            if os.path.isdir(entry):
                if self._recursive and _is_left_out(entry.name):
                    self.left_out.append(entry)
                elif self._recursive:
                    yield from self._walk(entry, (*above, real))
            elif entry.suffix.lower() in READ_SUFFIXES:
                yield entry


def expanded(given: str | Path) -> list[Path]:
    """Return what a name stands for: itself, or the files that a pattern matches.

    Parts that exist as they are written are no patterns: folders are called "IMG [2019]".
    """
    path = Path(given)
    if os.path.lexists(path) or not glob.has_magic(str(given)):
        return [path]
    found = {Path(path.anchor)}
    for part in path.parts[1:] if path.anchor else path.parts:
        found = {below for above in found for below in _matching(above, part)}
    return sorted(found)


def _matching(folder: Path, part: str) -> list[Path]:
    """Return what one part of a pattern matches in a folder."""
    if os.path.lexists(folder / part):
        return [folder / part]
    if part == "**":
        names = glob.iglob("**", root_dir=folder, recursive=True)
        return [folder, *(folder / name for name in names if os.path.isdir(folder / name))]
    if not glob.has_magic(part):
        return []
    return [folder / name for name in glob.iglob(part, root_dir=folder)]


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
