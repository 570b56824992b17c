"""Words that several verbs print, and lines that stay lines whatever a name holds."""

import codecs
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from unveil.bounded import is_name_byte

_LONGEST = 1000


def counted(number: int, what: str) -> str:
    """Put a number before what it counts.

    Args:
        number: How many.
        what: Their name in the singular.

    >>> counted(1, "thread"), counted(2, "thread")
    ('1 thread', '2 threads')
    """
    return f"{number} {what}" + ("s" if number != 1 else "")


def complain(message: object) -> None:
    """Print an error, or its text, as one line on stderr."""
    typer.echo(f"unveil: {one_line(str(message))}", err=True)


def print_json(plain: Any) -> None:
    """Print plain values as JSON."""
    typer.echo(json.dumps(plain, indent=2))


def one_line(text: str) -> str:
    r"""Return a text as one line for a terminal: control characters escaped, the middle cut out.

    >>> one_line("a\nb\x1b[2J")
    'a\\nb\\x1b[2J'
    >>> len(one_line("9" * 100_000)) < 1100
    True
    """
    if len(text) > _LONGEST:
        left_out = len(text) - _LONGEST
        half = _LONGEST // 2
        text = f"{text[:half]} … {left_out:,} more characters … {text[-half:]}"
    return "".join(c if c.isprintable() or is_name_byte(c) else _escaped(c) for c in text)


def print_any_name() -> None:
    """Let stdout pass on names as the file system has them, and escape what it cannot encode."""
    codecs.register_error("unveil", _encode_anyway)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="unveil")


def _encode_anyway(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    part = error.object[error.start : error.end]
    if all(map(is_name_byte, part)):
        return codecs.lookup_error("surrogateescape")(error)
    return codecs.lookup_error("backslashreplace")(error)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def skipped_folders(folders: Sequence[Path]) -> str:
    """Return which folders were not gone into."""
    names = sorted({folder.name for folder in folders})
    named = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"left out {counted(len(folders), 'folder')} of thumbnails, trash and the like: {named}"
