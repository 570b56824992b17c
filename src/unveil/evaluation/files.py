"""Find the test images in a folder."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from unveil.data.pairing import Patterns, existing_folder, list_images, match_pairs
from unveil.errors import DataError, InputError
from unveil.evaluation.protocols import Protocol


@dataclass(frozen=True)
class Entry:
    """One test image: a clean file, and the degraded one where the set is paired."""

    name: str
    clean: Path
    degraded: Path | None = None


@dataclass(frozen=True)
class TestSet:
    """The files of a run.

    Attributes:
        name: Of the folder; its parent's is put before names like ``test``.
        entries: In the order of their names, with numbers compared as numbers.
        found: How many there were before a limit.
        selection: The filters on their names, in words; empty without.
    """

    __test__ = False  # its name would make pytest collect it

    name: str
    entries: tuple[Entry, ...]
    found: int
    selection: str = ""

    @property
    def paired(self) -> bool:
        """Whether degraded images come from files."""
        return self.entries[0].degraded is not None

    @property
    def digest(self) -> str:
        """Hash the names and contents of the files.

        Raises:
            DataError: A file cannot be read.
        """
        result = hashlib.sha256()
        for entry in self.entries:
            for path in filter(None, (entry.clean, entry.degraded)):
                try:
                    with path.open("rb") as file:
                        content = hashlib.file_digest(file, "sha256").hexdigest()
                except OSError as error:
                    raise DataError(f"{path}: cannot be read: {error.strerror}") from error
                line = f"{entry.name}\0{path.name}\0{content}\n"
                result.update(os.fsencode(line))
        return result.hexdigest()[:16]


def find_test_set(
    folder: Path,
    protocol: Protocol,
    *,
    clean_only: bool = False,
    layout: str | None = None,
    limit: int | None = None,
    include: Patterns = None,
    exclude: Patterns = None,
) -> TestSet:
    """List the images of `folder` that `protocol` scores.

    Args:
        folder: Clean images, or pairs; where clean images are wanted and there are pairs, the clean
            halves are taken.
        protocol: Takes clean images, or pairs, or either.
        clean_only: Degradations will be synthesised: take clean images whatever the protocol takes.
        layout: How degraded and clean files correspond, as `unveil.data.match_pairs` reads it; None
            finds the usual folders and names.
        limit: Keep the first so many.
        include: Keep only files whose name matches a shell pattern, or one of several; of pairs,
            the degraded file's name counts.
        exclude: Leave out files whose name matches a shell pattern, or one of several.

    Raises:
        DataError: There are no such images, or a pair lacks a partner.
        InputError: `limit` is less than one.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: expected at least 1")
    folder = existing_folder(folder)
    chosen: dict[str, Patterns] = {"include": include, "exclude": exclude}
    selection = _selection(chosen)
    hint = f"; of files that pass the filters: {selection}" if selection else ""
    pairs = _find_pairs(folder, layout, chosen)
    alone = [] if pairs else list_images(folder, **chosen)
    if clean_only or protocol.data == "clean":
        files = list(dict.fromkeys(clean for clean, _ in pairs)) or alone
        entries = [Entry(name, path) for name, path in _named(folder, files)]
    elif pairs:
        names = _named(folder, [degraded for _, degraded in pairs])
        entries = [
            Entry(n, clean, path) for (n, path), (clean, _) in zip(names, pairs, strict=True)
        ]
    elif protocol.data == "pairs":
        raise DataError(
            f"{folder}: {protocol.name} needs pairs (input/, target/) or clean images with --with"
            + hint
        )
    else:
        entries = [Entry(name, path) for name, path in _named(folder, alone)]
    if not entries:
        raise DataError(f"{folder}: no images found{hint}")
    return TestSet(_name(folder), tuple(entries[:limit]), len(entries), selection)


def _selection(chosen: dict[str, Patterns]) -> str:
    parts = []
    for kind, patterns in chosen.items():
        several = [patterns] if isinstance(patterns, str) else patterns or []
        parts += [f"{kind} {pattern}" for pattern in several]
    return ", ".join(parts)


def _find_pairs(
    folder: Path, layout: str | None, chosen: dict[str, Patterns]
) -> list[tuple[Path, Path]]:
    """Return (clean, degraded) files; none where no layout is given and no usual one fits."""
    try:
        matching = match_pairs(folder, layout, **chosen)
    except DataError:
        if layout is None:
            return []
        raise
    if matching.ambiguous:
        raise DataError(
            f"{folder}: {matching.ambiguous[0].name} has several clean partners of that name; give "
            "--pairs with their suffixes"
        )
    if matching.without_clean:
        raise DataError(
            f"{folder}: no clean partner for {matching.without_clean[0].name}"
            f" ({len(matching.without_clean)} such files); see `unveil data check`"
        )
    return [(pair.clean, pair.degraded) for pair in matching.pairs if pair.degraded is not None]


def _named(folder: Path, files: list[Path]) -> list[tuple[str, Path]]:
    """Name files by their stems, or by their paths in the folder where stems repeat."""
    stems = Counter(path.stem for path in files)
    return [
        (path.stem if stems[path.stem] == 1 else path.relative_to(folder).as_posix(), path)
        for path in files
    ]


def _name(folder: Path) -> str:
    folder = folder.resolve()
    generic = {"test", "val", "validation", "train"}
    return f"{folder.parent.name}/{folder.name}" if folder.name in generic else folder.name
