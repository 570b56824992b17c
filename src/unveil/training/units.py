"""Values that a recipe spells with a unit: lengths of time and amounts of memory."""

import re
from typing import Any, Self

from pydantic import ByteSize, TypeAdapter, ValidationError
from pydantic_core import core_schema

from unveil.errors import RecipeError

_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_TERM = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]+)")
# Longer than any amount that people write; it also keeps numbers finite.
_LONGEST = 40
_BYTES = TypeAdapter(ByteSize)


class Spelled:
    """A recipe's value, parsed once, that is written back as it was spelled.

    Subclasses are read by pydantic from text through `parse`.

    Attributes:
        text: The spelling.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the value from its spelling.

        Raises:
            RecipeError: `text` is not of the form.
        """
        raise NotImplementedError

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Describe the value as text to pydantic and to the recipes' JSON schema."""
        text = core_schema.str_schema()
        return core_schema.no_info_after_validator_function(
            cls.parse,
            text,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: value.text, return_schema=text
            ),
        )


class Duration(Spelled, float):
    """A length of time in seconds, spelled ``90m`` or ``1h30m``."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Add up numbers with the units s, m (or min), h, d.

        Raises:
            RecipeError: `text` is not of that form, or not positive.

        >>> Duration.parse("1h30m") == 5400.0
        True
        """
        terms = _TERM.findall(text) if len(text) <= _LONGEST else []
        rest = "".join(_TERM.sub("", text).split())
        if not terms or rest or any(unit.lower() not in _SECONDS for _, unit in terms):
            raise RecipeError(
                f"cannot read {text[:_LONGEST]!r} as a length of time: write e.g. 90m, 2h or 1h30m"
            )
        seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in terms)
        if seconds <= 0:
            raise RecipeError(f"a length of time must be positive, not {text!r}")
        value = cls(seconds)
        value.text = text
        return value


class MemorySize(Spelled, int):
    """An amount of memory in bytes, spelled ``800MB`` or ``2GiB``."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a number with a unit as `pydantic.ByteSize` does; case is ignored.

        Raises:
            RecipeError: `text` is not of that form, or not positive.

        >>> MemorySize.parse("1.5GB") == 1_500_000_000
        True
        """
        try:
            # ByteSize would take a bare number, and ignore what stands behind the unit.
            size = 0
            if len(text) <= _LONGEST and _TERM.fullmatch(text.strip()):
                size = _BYTES.validate_python(text)
        except ValidationError:
            size = 0
        if size <= 0:
            raise RecipeError(
                f"cannot read {text[:_LONGEST]!r} as an amount of memory: write e.g. 800MB or 2GB"
            )
        value = cls(size)
        value.text = text
        return value


def format_seconds(seconds: float) -> str:
    """Spell a length of time briefly.

    >>> format_seconds(3725)
    '1h02m'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
