"""What has been restored already: one line per result, beside the results."""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from unveil.bounded import parse_json, require_regular
from unveil.errors import OutputError

NAME = ".unveil-restored.jsonl"
# A name has 255 bytes at most, each at most six characters of JSON.
_MOST_LINE = 4096
_ORIGINAL = "original"
_UNKNOWN: dict[str, Any] = {"key": None, "stamp": []}


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, the first 32 digits.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


class Journal:
    """Remembers results across runs, also across runs that were killed.

    A line is added before a result appears under its name, which happens in one step, and a line
    after. So a result that is there and was begun is whole, and its second line is not needed.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, dict[str, Any]]] = {}
        self._at_start: dict[Path, frozenset[str]] = {}

    def is_done(self, target: Path, key: str) -> bool:
        """Return whether `target` is the unchanged result of what `key` stands for.

        Args:
            target: The result.
            key: Stands for the source's bytes and all options.
        """
        entry = self._entries(target.parent).get(target.name)
        if entry is None or entry["key"] != key or not target.exists():
            return False
        return entry["stamp"] is None or entry["stamp"] == _stamp(target)

    def refresh(self, folder: Path) -> None:
        """Read what other processes have noted meanwhile about the results in `folder`."""
        self._folders.pop(folder, None)

    def contains(self, target: Path) -> bool:
        """Return whether `target` was made, or at least begun, by an earlier run."""
        return target.name in self._entries(target.parent)

    def contained_at_start(self, target: Path) -> bool:
        """Return whether `target` was begun before this run first looked into its folder."""
        self._entries(target.parent)
        return target.name in self._at_start[target.parent]

    def is_original(self, path: Path) -> bool:
        """Return whether `path` is the original of a photo that was restored in place."""
        entry = self._entries(path.parent).get(path.name)
        return entry is not None and entry["key"] == _ORIGINAL

    def keep(self, backup: Path) -> None:
        """Note that `backup` is about to be the original of a photo that is restored in place."""
        self._add(backup, _ORIGINAL, None)

    def begin(self, target: Path, key: str) -> None:
        """Note that `target`, which does not exist, is about to be made.

        Args:
            target: The result.
            key: Stands for the source's bytes and all options.
        """
        self._add(target, key, None)

    def finish(self, target: Path, key: str) -> None:
        """Note that `target` has been made.

        Args:
            target: The result.
            key: Stands for the source's bytes and all options.
        """
        self._add(target, key, _stamp(target))

    def _add(self, target: Path, key: str, stamp: list[int] | None) -> None:
        entry = {"target": target.name, "key": key, "stamp": stamp}
        try:
            if (target.parent / NAME).exists():
                require_regular(target.parent / NAME)
            with (target.parent / NAME).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            why = error.strerror or error
            raise OutputError(f"{target.parent / NAME}: cannot be written: {why}") from error
        self._entries(target.parent)[target.name] = entry

    def _entries(self, folder: Path) -> dict[str, dict[str, Any]]:
        if folder not in self._folders:
            self._folders[folder] = _read(folder / NAME)
            self._at_start.setdefault(folder, frozenset(self._folders[folder]))
        return self._folders[folder]


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Read the lines that make sense: the last one may have been cut off."""
    found: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(OSError):
        require_regular(path)
        with path.open(encoding="utf-8", errors="replace") as file:
            # A longer line is none of ours; its rest is read as lines that make no sense.
            while line := file.readline(_MOST_LINE):
                with contextlib.suppress(ValueError):
                    entry = parse_json(line)
                    if isinstance(entry, dict) and isinstance(entry.get("target"), str):
                        found[entry["target"]] = {**_UNKNOWN, **entry}
    return found


def _stamp(path: Path) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]
