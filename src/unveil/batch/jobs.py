"""Which files are restored, and where each result goes."""

import mimetypes
import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from unveil.batch.in_place import backup_name
from unveil.batch.listing import COMPARISON, Listing, expanded
from unveil.errors import ImageFileError, InputError, OutputError, UnveilError
from unveil.imaging import IMAGE_SUFFIXES
from unveil.imaging.formats import format_of_suffix, way_out
from unveil.inference.naming import Naming, require_format

_KNOWN_SUFFIXES = ", ".join(sorted(IMAGE_SUFFIXES))
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")


@dataclass(frozen=True)
class Job:
    """One file to restore: from `source` to `target`.

    Attributes:
        source: The photo.
        target: Its result.
        backup: Where the photo stays that its result replaces; None where it replaces none.
    """

    source: Path
    target: Path
    backup: Path | None = None


def comparison_name(target: Path) -> Path:
    """Return where the side-by-side image of `target` goes.

    >>> comparison_name(Path("a.restored.jpg")).name
    'a.restored.jpg.compare.png'
    """
    return target.with_name(target.name + COMPARISON)


@dataclass
class Plan:
    """What is to be done.

    Attributes:
        jobs: Files to restore, in order.
        failed: Inputs that cannot even be tried, each with the reason.
        left_out: Folders that were not gone into: thumbnails, trash and the like.
    """

    jobs: list[Job] = field(default_factory=list)
    failed: list[tuple[Path, UnveilError]] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)

    def shard(self, number: int, count: int) -> "Plan":
        """Return the part of one of `count` processes or machines that share the plan.

        The parts are disjoint, together they are the plan, and their sizes differ by one at most.

        Args:
            number: From 1 to `count`.
            count: How many parts there are.

        Raises:
            InputError: If there is no such part.

        >>> jobs = [Job(Path(name), Path(name)) for name in "abcde"]
        >>> [job.source.name for job in Plan(jobs).shard(2, 3).jobs]
        ['b', 'e']
        """
        if not 1 <= number <= count:
            raise InputError(f"shard {number}/{count}: expected i/n with i from 1 to n")
        return Plan(self.jobs[number - 1 :: count], self.failed[number - 1 :: count], self.left_out)


def plan(
    inputs: Sequence[str | Path],
    *,
    output: Path | None = None,
    naming: Naming | None = None,
    recursive: bool = False,
    in_place: bool = False,
) -> Plan:
    """List the files to restore.

    Args:
        inputs: Files, folders and patterns with ``*``, ``?`` or ``[…]``.
        output: Folder for the results, in which the tree below each input folder is kept; a file
            name when the one input is a file. None puts results beside their inputs.
        naming: How results are called.
        recursive: Go into folders below the given ones.
        in_place: Results replace their inputs, which stay beside them under another name.

    Returns:
        The plan. Results of other files of the plan are not inputs themselves, nor are those of
        earlier runs in a folder that also holds other pictures.

    Raises:
        InputError: If an input is empty, or `output` names a file and `inputs` are several, or
            contradicts the format, or is a format that cannot be written.
    """
    naming = naming or Naming()
    _require_names(inputs)
    if in_place and (output is not None or naming != Naming()):
        raise InputError("in place, results have the names of their inputs: give no other")
    single = _single_target(inputs, output)
    if single is not None:
        require_format(f"output {single}", single, naming.format)
    listing = Listing(output=output, recursive=recursive, in_place=in_place)
    made = Plan(failed=listing.failed, left_out=listing.left_out)
    for source, relative, named in listing.files(inputs):
        if named and format_of_suffix(source) is None:
            made.failed.append((source, _refusal(source)))
            continue
        if in_place:
            _add_in_place(source, made)
            continue
        folder = source.parent if output is None else output / relative
        made.jobs.append(Job(source, single or folder / naming(source)))
    if not in_place:
        _settle(made)
    return made


def _add_in_place(source: Path, made: Plan) -> None:
    kind = format_of_suffix(source)
    reason = None
    if kind is not None and not kind.is_written:
        reason = f"{kind.name} files are read, not written: restore it without --in-place"
    elif source.is_symlink():
        reason = "a link, which a result would replace: name the file it leads to"
    if reason is None:
        made.jobs.append(Job(source, source, backup_name(source)))
    else:
        made.failed.append((source, OutputError(f"{source}: {reason}")))


def find_images(
    inputs: Sequence[str | Path], *, recursive: bool = False
) -> tuple[list[Path], Listing]:
    """List the image files that `inputs` name, as `plan` does.

    Args:
        inputs: Files, folders and patterns.
        recursive: Go into folders below the given ones.

    Returns:
        The files, each once; and what could not be listed.

    Raises:
        InputError: If an input is empty.
    """
    _require_names(inputs)
    listing = Listing(recursive=recursive)
    return [source for source, _, _ in listing.files(inputs)], listing


def find_videos(paths: list[str]) -> Iterator[Path]:
    """Yield those of `paths` that are named as clips are.

    >>> [path.name for path in find_videos(["a.mp4", "b.jpg"])]
    ['a.mp4']
    """
    return (Path(path) for path in paths if Path(path).suffix.lower() in VIDEO_SUFFIXES)


def _require_names(inputs: Sequence[str | Path]) -> None:
    if not all(str(given) for given in inputs):
        raise InputError("an input is empty, as an unset variable is; name a file or folder, or .")


def _single_target(inputs: Sequence[str | Path], output: Path | None) -> Path | None:
    """Return `output` when it names the file for the one input."""
    if output is None or os.path.isdir(output):
        return None
    wanted = format_of_suffix(output)
    if wanted is not None and not wanted.is_written:
        raise InputError(f"output {output}: {wanted.name} files are read, not written; try .tif")
    if wanted is None:
        kind, _ = mimetypes.guess_type(output.name)
        if kind and kind.startswith(("image/", "video/")):
            raise InputError(f"output {output}: {_KNOWN_SUFFIXES} can be written, not {kind[6:]}")
        return None
    found = sum(len(list(expanded(given))) for given in inputs)
    if len(inputs) != 1 or found > 1 or os.path.isdir(inputs[0]):
        raise InputError(
            f"output {output}: names a file, but there are several inputs; name a folder"
        )
    return output


def _refusal(source: Path) -> UnveilError:
    """Return why a file that was named cannot be restored, judged by its name alone."""
    try:
        os.stat(source)
    except FileNotFoundError:
        return ImageFileError(f"{source}: no such file")
    except OSError as error:
        return ImageFileError(f"{source}: cannot be read: {error.strerror or error}")
    known = f"expected an image file, one of {_KNOWN_SUFFIXES}, or a raw photograph"
    return ImageFileError(f"{source}: {way_out(suffix=source.suffix) or known}")


def _settle(made: Plan) -> None:
    """Take out results of other files, and refuse to overwrite an input or another result."""
    placed = _placed(made.jobs)
    results = {place for _, *written in placed for place in written}
    # What is its own result was made by none of the others.
    inputs = {
        source: job.source
        for (source, *written), job in placed.items()
        if source not in results or source in written
    }
    taken: dict[Hashable, Job] = {}
    made.jobs = []
    for (source, *written), job in placed.items():
        if source not in inputs:
            continue
        lost = next((inputs[place] for place in written if place in inputs), None)
        other = next((taken[place] for place in written if place in taken), None)
        if lost is not None:
            what = "it" if lost == job.source else str(lost)
            reason = f"the result would overwrite {what}; give another --name or --output"
        elif other is not None:
            reason = f"its result has the same name as that of {other.source}"
        else:
            taken |= dict.fromkeys(written, job)
            made.jobs.append(job)
            continue
        made.failed.append((job.source, OutputError(f"{job.source}: {reason}")))


def _placed(jobs: Iterable[Job]) -> dict[tuple[Hashable, ...], Job]:
    """Return each job once, under the places of its source, its result and their comparison."""
    place = cache(_place)  # one look at each: another process may be replacing it
    placed: dict[tuple[Hashable, ...], Job] = {}
    for job in jobs:
        paths = (job.source, job.target, comparison_name(job.target))
        placed.setdefault(tuple(place(path) for path in paths), job)
    return placed


def _place(path: Path) -> Hashable:
    """Return what is the same for all names of one place: through linked folders, in other case."""
    with suppress(OSError):
        folder, file = os.stat(path.parent), os.lstat(path)
        # Links to the file itself are places of their own: writing replaces the link.
        return file.st_dev, folder.st_ino, file.st_ino, path.name.casefold()
    return os.path.join(os.path.realpath(path.parent), path.name)
