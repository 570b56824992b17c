"""Find the test images in a folder."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from unveil.errors import DataError, InputError
from unveil.evaluation.protocols import Protocol
from unveil.imaging import IMAGE_SUFFIXES

_PAIR_FOLDERS = (("input", "target"), ("lq", "gt"), ("degraded", "clean"))


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
        entries: In the order of their names.
        found: How many there were before a limit.
    """

    __test__ = False  # its name would make pytest collect it

    name: str
    entries: tuple[Entry, ...]
    found: int

    @property
    def paired(self) -> bool:
        """Whether degraded images come from files."""
        return self.entries[0].degraded is not None

    @property
    def digest(self) -> str:
        """Hash the names and sizes of the files."""
        result = hashlib.sha256()
        for entry in self.entries:
            for path in filter(None, (entry.clean, entry.degraded)):
                result.update(f"{entry.name}\0{path.name}\0{path.stat().st_size}\n".encode())
        return result.hexdigest()[:16]


def find_test_set(
    folder: Path, protocol: Protocol, *, clean_only: bool = False, limit: int | None = None
) -> TestSet:
    """List the images of `folder` that `protocol` scores.

    Args:
        folder: Clean images, or pairs as the data layer finds them (``input``/``target``, …).
        protocol: Says whether it wants clean images or pairs.
        clean_only: Degradations will be synthesised: take clean images whatever the protocol wants.
        limit: Keep the first so many.

    Raises:
        DataError: There are no such images, or a pair lacks a partner.
        InputError: `limit` is less than one.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: expected at least 1")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    pairs = None if clean_only or protocol.data == "clean" else _find_pairs(folder)
    if pairs is None and protocol.data == "pairs" and not clean_only:
        raise DataError(
            f"{folder}: {protocol.name} needs pairs (input/, target/) or clean images with --with"
        )
    entries = pairs if pairs is not None else _find_clean(folder)
    if not entries:
        raise DataError(f"{folder}: no images found")
    return TestSet(_name(folder), tuple(entries[:limit]), len(entries))


def _find_clean(folder: Path) -> list[Entry]:
    paths = _images(folder)
    stems = Counter(path.stem for path in paths)
    return [Entry(path.stem if stems[path.stem] == 1 else path.name, path) for path in paths]


def _find_pairs(folder: Path) -> list[Entry] | None:
    for degraded_name, clean_name in _PAIR_FOLDERS:
        degraded, clean = folder / degraded_name, folder / clean_name
        if degraded.is_dir() and clean.is_dir():
            partners = {path.stem: path for path in _images(clean)}
            inputs = _images(degraded)
            missing = [path.name for path in inputs if path.stem not in partners]
            if missing:
                raise DataError(f"{folder}: no partner in {clean_name}/ for {missing[0]}")
            return [Entry(path.stem, partners[path.stem], path) for path in inputs]
    return None


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def _name(folder: Path) -> str:
    folder = folder.resolve()
    generic = {"test", "val", "validation", "train"}
    return f"{folder.parent.name}/{folder.name}" if folder.name in generic else folder.name
