"""Names of results."""

from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from unveil.errors import InputError
from unveil.imaging.formats import Format, format_of_suffix

DEFAULT_NAME = "{stem}.restored{ext}"


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
        require_format(f"name {self.template!r}", name, self.format)

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


def require_format(what: str, name: str | Path, wanted: Format | None) -> None:
    """Refuse a name whose suffix contradicts the format of the results.

    Args:
        what: What the name is, for the message.
        name: A file name.
        wanted: The format; None takes any.

    Raises:
        InputError: It does.
    """
    kind = format_of_suffix(name)
    if kind and wanted and kind is not wanted:
        raise InputError(
            f"{what}: makes a {kind.name} file, but the format is to be {wanted.name}; "
            "give one of the two"
        )
