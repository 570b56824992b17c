"""Lengths of time and amounts of memory, as people write them: ``90m``, ``2h``, ``1.5GB``."""

import re

from unveil.errors import RecipeError

_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_TERM = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]+)")


def parse_duration(text: str) -> float:
    """Return the seconds in a length of time.

    Args:
        text: Numbers with units s, m (or min), h, d; several add up.

    Raises:
        RecipeError: `text` is not of that form, or not positive.

    >>> parse_duration("1h30m")
    5400.0
    """
    terms = _TERM.findall(text)
    spelled = "".join(_TERM.sub("", text).split())
    if not terms or spelled or any(unit.lower() not in _SECONDS for _, unit in terms):
        raise RecipeError(f"cannot read {text!r} as a length of time: write e.g. 90m, 2h or 1h30m")
    seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in terms)
    if seconds <= 0:
        raise RecipeError(f"a length of time must be positive, not {text!r}")
    return seconds


def parse_bytes(text: str) -> int:
    """Return the bytes in an amount of memory.

    Args:
        text: A number with a unit: B, kB, MB, GB, KiB, MiB, GiB; case is ignored.

    Raises:
        RecipeError: `text` is not of that form, or not positive.

    >>> parse_bytes("1.5GB")
    1500000000
    """
    match = _TERM.fullmatch(text.strip())
    if match is None or match[2].lower() not in _BYTES or float(match[1]) <= 0:
        raise RecipeError(f"cannot read {text!r} as an amount of memory: write e.g. 800MB or 2GB")
    return int(float(match[1]) * _BYTES[match[2].lower()])


def format_seconds(seconds: float) -> str:
    """Spell a length of time shortly.

    >>> format_seconds(3725)
    '1h02m'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
