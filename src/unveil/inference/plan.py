"""Which files are restored, and where each result goes."""

import glob
import mimetypes
import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from string import Formatter

from unveil.errors import ImageFileError, InputError, OutputError, UnveilError
from unveil.imaging import IMAGE_SUFFIXES
from unveil.imaging.formats import READ_SUFFIXES, Format, format_of_suffix, way_out
from unveil.inference.in_place import backup_name
from unveil.inference.journal import Journal

DEFAULT_NAME = "{stem}.restored{ext}"
# Folders of thumbnails, previews, trash and libraries that only their own program may change:
# Synology's, QNAP's, Windows', macOS', Lightroom's, Capture One's. Hidden ones are left out, too.
_LEFT_OUT = (
    "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin",
    "system volume information", "lost+found", "__macosx", "*.photoslibrary", "*.photolibrary",
    "*.aplibrary", "*.lrdata", "*.lrlibrary", "captureone",
)  # fmt: skip
_COMPARISON = ".compare.png"
_KNOWN_SUFFIXES = ", ".join(sorted(IMAGE_SUFFIXES))


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
    """Return where the side-by-side picture of `target` goes.

    >>> comparison_name(Path("a.restored.jpg")).name
    'a.restored.jpg.compare.png'
    """
    return target.with_name(target.name + _COMPARISON)


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


@dataclass(frozen=True)
class Naming:
    """How results are called.

    Attributes:
        template: With the fields ``{stem}`` and ``{ext}``.
        format: Format of the results; None keeps that of the input.

    Raises:
        InputError: If the template has other fields, or makes no file name or one that
            contradicts the format.
    """

    template: str = DEFAULT_NAME
    format: Format | None = None

    def __post_init__(self) -> None:
        # Checked before it is filled in: a width could make a name of gigabytes.
        try:
            fields = [part[1:] for part in Formatter().parse(self.template) if part[1] is not None]
        except ValueError:
            fields = [("", "", None)]
        if any(field not in (("stem", "", None), ("ext", "", None)) for field in fields):
            raise InputError(f"name {self.template!r}: only {{stem}} and {{ext}} can be filled in")
        name = self(Path("a.png"))
        kind = format_of_suffix(name)
        if Path(name).name != name or kind is None or not kind.is_written:
            raise InputError(
                f"name {self.template!r} makes {name!r}; expected a file name with an image suffix"
            )
        _check_format(f"name {self.template!r}", name, self.format)

    def __call__(self, source: Path) -> str:
        """Return the name of the result of `source`.

        >>> Naming("{stem}-clean{ext}")(Path("in/a.b.jpg"))
        'a.b-clean.jpg'
        """
        ext = self.format.suffixes[0] if self.format else source.suffix
        kind = format_of_suffix(source)
        if self.format is None and kind is not None and kind.result:
            ext = kind.result
        return self.template.format(stem=source.stem, ext=ext)


def _check_format(what: str, name: str | Path, wanted: Format | None) -> None:
    kind = format_of_suffix(name)
    if kind and wanted and kind is not wanted:
        raise InputError(
            f"{what}: makes a {kind.name} file, but the format is to be {wanted.name}; "
            "give one of the two"
        )


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
            contradicts the format, or is a kind of picture that cannot be written.
    """
    naming = naming or Naming()
    made = Plan()
    _require_names(inputs)
    if in_place and (output is not None or naming != Naming()):
        raise InputError("in place, results have the names of their inputs: give no other")
    single = _single_target(inputs, output)
    if single is not None:
        _check_format(f"output {single}", single, naming.format)
    for source, relative, named in _sources(inputs, output, recursive, made, in_place):
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
) -> tuple[list[Path], list[tuple[Path, UnveilError]]]:
    """List the image files that `inputs` name, as `plan` does.

    Args:
        inputs: Files, folders and patterns.
        recursive: Go into folders below the given ones.

    Returns:
        The files, each once, and the inputs that name none, each with the reason.

    Raises:
        InputError: If an input is empty.
    """
    _require_names(inputs)
    made = Plan()
    files = [source for source, _, _ in _sources(inputs, None, recursive, made)]
    return files, made.failed


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
    found = sum(len(list(_expanded(given))) for given in inputs)
    if len(inputs) != 1 or found > 1 or os.path.isdir(inputs[0]):
        raise InputError(
            f"output {output}: names a file, but there are several inputs; name a folder"
        )
    return output


def _sources(
    inputs: Iterable[str | Path],
    output: Path | None,
    recursive: bool,
    made: Plan,
    in_place: bool = False,
) -> Iterator[tuple[Path, Path, bool]]:
    """Yield each file once, with its folder relative to the input it was found under."""
    seen: set[Path] = set()
    for given in inputs:
        found = list(_expanded(given))
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


def _expanded(given: str | Path) -> list[Path]:
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
    folder: Path, output: Path | None, recursive: bool, made: Plan, in_place: bool
) -> list[Path]:
    """List the image files below `folder`, sorted; links are followed, but not in circles.

    Results of earlier runs are left out, unless there is nothing else: then they are what to start
    from.
    """
    found: list[Path] = []
    closed = None if output is None else os.path.realpath(output)
    _enter(folder, closed, recursive, made, found, ())
    if not found:
        hint = "" if recursive else "; give --recursive to look into folders below it"
        made.failed.append((folder, ImageFileError(f"{folder}: holds no image files{hint}")))
    journal = Journal()
    found = [file for file in found if not journal.is_original(file)]
    return [file for file in found if not _is_result(file, journal, in_place)] or found


def _enter(
    folder: Path,
    closed: str | None,
    recursive: bool,
    made: Plan,
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


def _is_left_out(name: str) -> bool:
    """Tell whether a folder holds copies that other programs keep, or what was thrown away.

    >>> [_is_left_out(name) for name in ("@eaDir", ".thumbnails", "Holiday", "A Previews.lrdata")]
    [True, True, False, True]
    """
    lower = name.lower()
    return lower.startswith(".") or any(fnmatch(lower, pattern) for pattern in _LEFT_OUT)


def _is_result(file: Path, journal: Journal, in_place: bool) -> bool:
    """Tell whether an earlier run made `file`, or made it beside a result.

    What was restored in place is listed again by a run in place, which says that it is done.
    """
    if in_place and journal.is_original(backup_name(file)):
        return False
    compared = file.with_name(file.name.removesuffix(_COMPARISON))
    return journal.knows(file) or journal.knows(compared)


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
