"""Find what is wrong with a set of photos, all of it in one pass."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from unveil.data.image_cache import ImageStore
from unveil.data.sources import Source
from unveil.errors import DataError, ImageFileError

Kind = Literal[
    "missing partner", "ambiguous partner", "size mismatch", "unreadable", "too small", "duplicate"
]


class FileProblem(NamedTuple):
    """Something wrong with a file; a duplicate does not keep a set from being used."""

    kind: Kind
    path: Path
    detail: str

    @property
    def fatal(self) -> bool:
        """Whether a set with this problem cannot be used."""
        return self.kind != "duplicate"

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}: {self.detail}"


@dataclass(frozen=True)
class SetReport:
    """What a check found.

    Attributes:
        photos: Number of files looked at.
        samples: Number of clean photos or pairs of all sources.
        pixels: Number of pixels of all readable files.
        problems: In the order of the files.
    """

    photos: int
    samples: int
    pixels: int
    problems: tuple[FileProblem, ...]

    @property
    def usable(self) -> bool:
        """Whether training or evaluation can run on the set as it is."""
        return not any(problem.fatal for problem in self.problems)

    def without_bad(self, sources: Sequence[Source]) -> tuple[Source, ...]:
        """Leave out every pair that has a problem; sources left empty go too.

        Returns:
            Sources that can be used.

        Raises:
            DataError: Nothing is left.
        """
        bad = {problem.path for problem in self.problems if problem.fatal}
        kept = (
            replace(
                source,
                pairs=tuple(
                    pair
                    for pair in source.pairs
                    if pair.clean not in bad and pair.degraded not in bad
                ),
                without_clean=(),
                without_degraded=(),
                ambiguous=(),
            )
            for source in sources
        )
        usable = tuple(source for source in kept if source.pairs or source.generated)
        if not usable:
            raise DataError(f"no photo can be used: {len(bad)} files have problems; repair the set")
        return usable

    def require_usable(self) -> None:
        """Stop if the set cannot be used.

        Raises:
            DataError: Names the first problem and how many there are.
        """
        fatal = [problem for problem in self.problems if problem.fatal]
        if fatal:
            more = f" (and {len(fatal) - 1} more)" if len(fatal) > 1 else ""
            raise DataError(f"{fatal[0]}{more}; `unveil data check` lists all; repair or skip them")


class _FileFacts(NamedTuple):
    size: tuple[int, int]
    digest: bytes


def check_sources(
    sources: Sequence[Source],
    *,
    min_size: int = 0,
    store: ImageStore | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SetReport:
    """Decode every photo once and collect what is wrong.

    Args:
        sources: What is to be checked.
        min_size: Shortest side a photo must have, in pixels: the largest training patch.
        store: Keeps the decoded photos if given, so that training need not decode them again.
        progress: Called with the number of files done and of all.

    Returns:
        The report: missing partners, size mismatches, unreadable, duplicate and too small files.
    """
    store = store if store is not None else ImageStore(0)
    problems = [problem for source in sources for problem in _missing(source)]
    files = list(dict.fromkeys(path for source in sources for path in source.files))
    seen: dict[Path, _FileFacts] = {}
    for done, path in enumerate(files):
        try:
            seen[path] = _look(store, path)
        except ImageFileError as error:
            problems.append(FileProblem("unreadable", path, str(error).removeprefix(f"{path}: ")))
        else:
            problems += _small(path, seen[path], min_size)
        if progress is not None:
            progress(done + 1, len(files))
    problems += [problem for source in sources for problem in _mismatches(source, seen)]
    problems += _duplicates(sources, seen)
    return SetReport(
        photos=len(files),
        samples=sum(len(source.pairs) for source in sources),
        pixels=sum(look.size[0] * look.size[1] for look in seen.values()),
        problems=tuple(dict.fromkeys(problems)),
    )


def _missing(source: Source) -> list[FileProblem]:
    lost = [FileProblem("missing partner", path, "no clean photo") for path in source.without_clean]
    lost += [
        FileProblem("missing partner", path, "no degraded photo")
        for path in source.without_degraded
    ]
    several = "several clean photos of this name, none with its suffix; name one in --layout"
    return lost + [FileProblem("ambiguous partner", path, several) for path in source.ambiguous]


def _look(store: ImageStore, path: Path) -> _FileFacts:
    pixels = store.get(path)
    return _FileFacts(pixels.shape[:2], hashlib.blake2b(pixels.tobytes(), digest_size=16).digest())


def _small(path: Path, look: _FileFacts, min_size: int) -> list[FileProblem]:
    height, width = look.size
    if min(height, width) >= min_size:
        return []
    return [
        FileProblem("too small", path, f"{width}x{height}, expected {min_size} or more each way")
    ]


def _mismatches(source: Source, seen: dict[Path, _FileFacts]) -> list[FileProblem]:
    found = []
    for pair in source.pairs:
        clean = seen.get(pair.clean)
        degraded = seen.get(pair.degraded) if pair.degraded else None
        if clean and degraded and pair.degraded and clean.size != degraded.size:
            sizes = [f"{look.size[1]}x{look.size[0]}" for look in (degraded, clean)]
            detail = f"{sizes[0]}, but {pair.clean.name} is {sizes[1]}"
            found.append(FileProblem("size mismatch", pair.degraded, detail))
    return found


def _duplicates(sources: Sequence[Source], seen: dict[Path, _FileFacts]) -> list[FileProblem]:
    """Compare clean photos with clean and degraded with degraded, by their pixels."""
    pairs = [pair for source in sources for pair in source.pairs]
    found = []
    for role in ([pair.clean for pair in pairs], [pair.degraded for pair in pairs]):
        first: dict[_FileFacts, Path] = {}
        for path in dict.fromkeys(role):
            if path is None or path not in seen:
                continue
            other = first.setdefault(seen[path], path)
            if other != path:
                found.append(FileProblem("duplicate", path, f"same pixels as {other}"))
    return found
