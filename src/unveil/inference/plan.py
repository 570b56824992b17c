"""Which files are restored, and where each result goes."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unveil.errors import ImageFileError, InputError, OutputError, UnveilError
from unveil.imaging import IMAGE_SUFFIXES
from unveil.imaging.formats import Format, format_of_suffix

DEFAULT_NAME = "{stem}.restored{ext}"


@dataclass(frozen=True)
class Job:
    """One file to restore: from `source` to `target`."""

    source: Path
    target: Path


def comparison_name(target: Path) -> Path:
    """Return where the side-by-side picture of `target` goes.

    >>> comparison_name(Path("a.restored.jpg")).name
    'a.restored.compare.png'
    """
    return target.with_name(f"{target.stem}.compare.png")


@dataclass
class Plan:
    """What is to be done.

    Attributes:
        jobs: Files to restore, in order.
        failed: Inputs that cannot even be tried, each with the reason.
    """

    jobs: list[Job] = field(default_factory=list)
    failed: list[tuple[Path, UnveilError]] = field(default_factory=list)

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
        return Plan(self.jobs[number - 1 :: count], self.failed[number - 1 :: count])


@dataclass(frozen=True)
class Naming:
    """How results are called.

    Attributes:
        template: With the fields ``{stem}`` and ``{ext}``.
        format: Format of the results; None keeps that of the input.

    Raises:
        InputError: If the template has other fields, or makes no file name.
    """

    template: str = DEFAULT_NAME
    format: Format | None = None

    def __post_init__(self) -> None:
        try:
            name = self(Path("a.png"))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise InputError(
                f"name {self.template!r}: only {{stem}} and {{ext}} can be filled in"
            ) from error
        if Path(name).name != name or format_of_suffix(name) is None:
            raise InputError(
                f"name {self.template!r} makes {name!r}; expected a file name with an image suffix"
            )

    def __call__(self, source: Path) -> str:
        """Return the name of the result of `source`.

        >>> Naming("{stem}-clean{ext}")(Path("in/a.b.jpg"))
        'a.b-clean.jpg'
        """
        ext = self.format.suffixes[0] if self.format else source.suffix
        return self.template.format(stem=source.stem, ext=ext)


def plan(
    inputs: Sequence[str | Path],
    *,
    output: Path | None = None,
    naming: Naming | None = None,
    recursive: bool = False,
) -> Plan:
    """List the files to restore.

    Args:
        inputs: Files, folders and patterns with ``*``, ``?`` or ``[…]``.
        output: Folder for the results, in which the tree below each input folder is kept; a file
            name when the one input is a file. None puts results beside their inputs.
        naming: How results are called.
        recursive: Go into folders below the given ones.

    Returns:
        The plan. Results of other files of the plan are not inputs themselves.

    Raises:
        InputError: If `output` names a file and `inputs` are several.
    """
    naming = naming or Naming()
    made = Plan()
    single = _single_target(inputs, output)
    for source, relative, named in _sources(inputs, recursive, made):
        if named and format_of_suffix(source) is None:
            made.failed.append((source, _refusal(source)))
            continue
        folder = source.parent if output is None else output / relative
        made.jobs.append(Job(source, single or folder / naming(source)))
    _drop_results(made)
    return made


def _single_target(inputs: Sequence[str | Path], output: Path | None) -> Path | None:
    """Return `output` when it names the file for the one input."""
    if output is None or output.is_dir() or format_of_suffix(output) is None:
        return None
    if len(inputs) != 1 or Path(inputs[0]).is_dir():
        raise InputError(
            f"output {output}: names a file, but there are several inputs; name a folder"
        )
    return output


def _sources(
    inputs: Iterable[str | Path], recursive: bool, made: Plan
) -> Iterator[tuple[Path, Path, bool]]:
    """Yield each file once, with its folder relative to the input it was found under."""
    seen: set[Path] = set()
    for given in inputs:
        found = list(_expanded(given))
        if not found:
            made.failed.append((Path(given), ImageFileError(f"{given}: no file has such a name")))
        for path in found:
            folder = path.is_dir()
            files = _walk(path, recursive, made) if folder else [path]
            for file in files:
                key = Path(os.path.abspath(file))
                if key not in seen:
                    seen.add(key)
                    relative = file.parent.relative_to(path) if folder else Path()
                    yield file, relative, not folder


def _expanded(given: str | Path) -> list[Path]:
    path = Path(given)
    if os.path.lexists(path) or not glob.has_magic(str(given)):
        return [path]
    return [Path(name) for name in sorted(glob.glob(str(given), recursive=True))]


def _walk(folder: Path, recursive: bool, made: Plan) -> list[Path]:
    """List the image files below `folder`, sorted; links are followed, but not in circles."""
    found: list[Path] = []
    _enter(folder, recursive, made, found, ())
    if not found:
        hint = "" if recursive else "; give --recursive to look into folders below it"
        made.failed.append((folder, ImageFileError(f"{folder}: holds no image files{hint}")))
    return found


def _enter(
    folder: Path, recursive: bool, made: Plan, found: list[Path], above: tuple[str, ...]
) -> None:
    real = os.path.realpath(folder)
    if real in above:
        made.failed.append((folder, ImageFileError(f"{folder}: leads back to a folder above it")))
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        why = error.strerror or str(error)
        made.failed.append((folder, ImageFileError(f"{folder}: cannot be listed: {why}")))
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if recursive:
                _enter(entry, recursive, made, found, (*above, real))
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            found.append(entry)


def _refusal(source: Path) -> UnveilError:
    """Return why a file that was named cannot be restored, judged by its name alone."""
    if not source.exists():
        return ImageFileError(f"{source}: no such file")
    known = ", ".join(sorted(IMAGE_SUFFIXES))
    return ImageFileError(f"{source}: expected an image file, one of {known}")


def _drop_results(made: Plan) -> None:
    """Take out results of other files, and refuse to overwrite an input or another result."""
    results = [path for job in made.jobs for path in (job.target, comparison_name(job.target))]
    targets = {os.path.abspath(path) for path in results}
    jobs = [job for job in made.jobs if os.path.abspath(job.source) not in targets]
    circular = [j for j in made.jobs if os.path.abspath(j.source) == os.path.abspath(j.target)]
    made.jobs = []
    taken: dict[str, Path] = {}
    for job in jobs + circular:
        key = os.path.abspath(job.target)
        if job in circular:
            reason = f"{job.source}: the result would overwrite it; give another --name or --output"
        elif key in taken:
            reason = f"{job.source}: its result has the same name as that of {taken[key]}"
        else:
            taken[key] = job.source
            made.jobs.append(job)
            continue
        made.failed.append((job.source, OutputError(reason)))
