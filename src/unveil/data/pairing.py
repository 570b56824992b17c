"""Find the image files of a folder, and which degraded one belongs to which clean one."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from unveil.bounded import time_limit
from unveil.errors import DataError
from unveil.imaging import IMAGE_SUFFIXES

# Sub-folders (degraded, clean) as published sets name them; the first that exist are taken.
FOLDER_NAMES = (
    ("input", "target"),
    ("degraded", "clean"),
    ("lq", "gt"),
    ("rainy", "gt"),
    ("rain", "norain"),
    ("synthetic", "original"),
    ("hazy", "clear"),
    ("hazy", "gt"),
    ("noisy", "clean"),
    ("blur", "sharp"),
    ("low", "high"),
    ("input", "gt"),
)
# How names inside those sub-folders correspond, from the most to the least specific.
NAME_RULES = (
    "{name} -> {name}",
    "rain-{id} -> norain-{id}",
    "rain{id} -> norain{id}",
    "{id}_{airlight}_{beta} -> {id}",
    "{id}_{setting} -> {id}",
)

# A sensible expression takes microseconds for a name; one that tries endlessly is stopped.
_MATCHING_S, _MATCHING_S_PER_FILE = 4.0, 0.001

# Shell patterns for file names: one, several of which any may match, or none.
Patterns = str | Sequence[str] | None


@dataclass(frozen=True)
class Pair:
    """A clean photo and, for paired sets, its degraded version; `name` is unique in its folder."""

    clean: Path
    degraded: Path | None
    name: str


@dataclass(frozen=True)
class Matching:
    """Pairs of a folder, and the files left over.

    Attributes:
        pairs: In the natural order of the degraded files.
        without_clean: Degraded files whose clean partner is missing.
        without_degraded: Clean files whose degraded partner is missing.
        ambiguous: Degraded files with several clean ones of that name and other suffixes.
        layout: That was used.
    """

    pairs: tuple[Pair, ...]
    without_clean: tuple[Path, ...] = ()
    without_degraded: tuple[Path, ...] = ()
    ambiguous: tuple[Path, ...] = ()
    layout: str = ""


def existing_folder(folder: str | Path) -> Path:
    """Expand ``~`` and ``$VARIABLES`` and make sure that a folder is there.

    Returns:
        The folder.

    Raises:
        DataError: A variable is not set, or there is no such folder.

    >>> existing_folder(".")
    PosixPath('.')
    """
    try:
        path = Path(os.path.expandvars(str(folder))).expanduser()
        found = path.is_dir()
    except (OSError, RuntimeError) as error:  # a name that is too long, a user unknown
        raise DataError(f"{folder}: {getattr(error, 'strerror', None) or error}") from None
    if "$" in str(path):
        raise DataError(f"{folder}: the environment variable is not set; set it to the data folder")
    if not found:
        raise DataError(f"{path}: no such folder")
    return path


def _is_kept(name: str, include: Patterns = None, exclude: Patterns = None) -> bool:
    """Return whether a file's name passes the filters.

    >>> _is_kept("a_toy_1.jpg", include=["*_toy_*", "b_*"], exclude="*_2.jpg")
    True
    """
    wanted = include is None or _matches(name, include)
    return wanted and (exclude is None or not _matches(name, exclude))


def _matches(name: str, patterns: str | Sequence[str]) -> bool:
    several = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatch(name, pattern) for pattern in several)


def list_images(
    folder: str | Path, *, include: Patterns = None, exclude: Patterns = None
) -> list[Path]:
    """List the image files of a folder and all folders in it, in a natural order.

    Args:
        folder: Searched recursively; hidden files and folders are left out.
        include: Keep only files whose name matches a shell pattern, or one of several.
        exclude: Leave out files whose name matches a shell pattern, or one of several.

    Returns:
        Paths, with numbers in names compared as numbers: ``2.png`` before ``10.png``.

    Raises:
        DataError: The folder is missing.
    """
    root = existing_folder(folder)
    found = [
        path
        for path in root.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and _is_kept(path.name, include, exclude)
        and path.is_file()
    ]
    return sorted(found, key=lambda path: _natural(path.relative_to(root).as_posix()))


def match_pairs(
    folder: str | Path,
    layout: str | None = None,
    *,
    include: Patterns = None,
    exclude: Patterns = None,
) -> Matching:
    r"""Match the degraded and clean files of a folder.

    Args:
        folder: Holds both, usually in sub-folders.
        layout: ``DEGRADED -> CLEAN``, both relative to the folder, with suffixes or without: where
            a side has none, any fits, and the same as the partner's before others. ``{name}``
            stands for the same text on both sides, ``*`` for any text within a name and ``**``
            also across folders: ``"rainy/rain-{id} -> gt/norain-{id}"``. With ``re:`` in front
            the left side is a regular expression and the right side its replacement:
            ``r"re:hazy/(\d+)_.* -> clear/\1"``. None finds usual sub-folders and names.
        include: Keep only degraded files whose name matches a shell pattern, or one of several.
        exclude: Leave out degraded files whose name matches a shell pattern, or one of several.

    Returns:
        The pairs, in the natural order of the degraded files, and the files without partner.

    Raises:
        DataError: The layout cannot be read, takes too long, or none of the usual ones fits.
    """
    root = existing_folder(folder)
    files = list_images(root)
    layouts = [layout] if layout else usual_layouts(root)
    best: Matching | None = None
    for candidate in layouts:
        try:
            with time_limit(_MATCHING_S + len(files) * _MATCHING_S_PER_FILE):
                matching = _match(root, files, candidate, include, exclude)
        except TimeoutError:
            raise DataError(
                f"layout {candidate!r}: it takes too long to compare with names; write it with "
                "fewer repeats, and none within another"
            ) from None
        if best is None or len(matching.pairs) > len(best.pairs):
            best = matching
    if best is None:
        names = ", ".join(f"{degraded}/{clean}" for degraded, clean in FOLDER_NAMES)
        raise DataError(
            f"{root}: no pair of sub-folders among {names}; "
            'give a layout such as "input/{name} -> target/{name}"'
        )
    return best


def usual_layouts(root: Path) -> list[str]:
    """List the layouts worth trying for a folder: those of the first usual sub-folders it has.

    >>> usual_layouts(Path("."))
    []
    """
    folders = {path.name.lower(): path.name for path in root.iterdir() if path.is_dir()}
    for degraded, clean in FOLDER_NAMES:
        if degraded in folders and clean in folders:
            left, right = _escape(folders[degraded]), folders[clean]
            rules = [rule.split(" -> ") for rule in NAME_RULES]
            direct = [f"{left}/{a} -> {right}/{b}" for a, b in rules]
            # Some sets cut their degraded files into parts: synthetic/part1/0001_0.8_0.2.jpg.
            return direct + [f"{left}/**/{a} -> {right}/{b}" for a, b in rules]
    return []


def _escape(name: str) -> str:
    return name.replace("{", "").replace("*", "")


def _match(
    root: Path, files: Iterable[Path], layout: str, include: Patterns, exclude: Patterns
) -> Matching:
    pattern, replacement = _compile(layout)
    left_side, _, right_side = layout.removeprefix("re:").partition("->")
    degraded_key, clean_key = (_key_of(side) for side in (left_side, right_side))
    cleans: dict[str, list[Path]] = {}
    for path in (files := list(files)):
        cleans.setdefault(clean_key(path.relative_to(root)), []).append(path)
    pairs: list[Pair] = []
    lost: list[Path] = []
    unclear: list[Path] = []
    degraded_files: set[Path] = set()
    for path in files:
        found = pattern.fullmatch(degraded_key(path.relative_to(root)))
        if found is None:
            continue
        degraded_files.add(path)
        if not _is_kept(path.name, include, exclude):
            continue
        partners = [p for p in cleans.get(_expand(found, replacement, layout), []) if p != path]
        alike = [p for p in partners if p.suffix.lower() == path.suffix.lower()] or partners
        if len(alike) == 1:
            pairs.append(Pair(alike[0], path, path.relative_to(root).as_posix()))
        else:
            (unclear if alike else lost).append(path)
    taken = {pair.clean for pair in pairs}
    clean_folders = {path.parent for path in taken}
    alone = [
        path
        for path in files
        if path.parent in clean_folders and path not in taken and path not in degraded_files
    ]
    # With a filter on the degraded files, clean ones without a partner are expected.
    without = () if include or exclude else tuple(alone)
    return Matching(tuple(pairs), tuple(lost), without, tuple(unclear), layout)


def _key_of(side: str) -> Callable[[Path], str]:
    """Return what a side of a layout is compared with: names without suffix, unless it has one."""
    if Path(side.strip()).suffix.lower().replace("\\", "") in IMAGE_SUFFIXES:
        return Path.as_posix
    return lambda path: path.with_suffix("").as_posix()


def _compile(layout: str) -> tuple[re.Pattern[str], str]:
    """Turn a layout into a regular expression and a replacement for `re.Match.expand`."""
    left, arrow, right = (part.strip() for part in layout.removeprefix("re:").partition("->"))
    if not arrow or not left or not right:
        raise DataError(
            f'layout {layout!r} is not "DEGRADED -> CLEAN", e.g. "lq/{{name}} -> gt/{{name}}"'
        )
    try:
        if layout.startswith("re:"):
            return re.compile(left), right
        return re.compile(_template(left)), re.sub(
            r"{(\w+)}", r"\\g<\1>", right.replace("\\", r"\\")
        )
    except re.error as error:
        raise DataError(f"layout {layout!r} cannot be read: {error}") from None


def _template(left: str) -> str:
    tokens = re.split(r"({\w+}|\*\*/?|\*)", left)
    seen: set[str] = set()
    parts = []
    for token in tokens:
        name = token[1:-1]
        if token.startswith("{") and token.endswith("}"):
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)")
            seen.add(name)
        elif token.startswith("**"):
            parts.append("(?:.*/)?" if token.endswith("/") else ".*")
        else:
            parts.append("[^/]*" if token == "*" else re.escape(token))
    return "".join(parts)


def _expand(found: re.Match[str], replacement: str, layout: str) -> str:
    try:
        return found.expand(replacement)
    except (re.error, IndexError):
        known = ", ".join(found.groupdict()) or "numbered groups"
        raise DataError(
            f"layout {layout!r}: the right side has a name that the left side lacks; it has {known}"
        ) from None


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """Order numbers by value and before letters."""
    parts = re.split(r"(\d+)", text.lower())
    return [
        (False, int(part), "") if part.isdecimal() else (True, 0, part) for part in parts if part
    ]
