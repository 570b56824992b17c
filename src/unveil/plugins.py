"""Things by name: built in, registered by a program, or brought by installed packages.

An installed package names what it brings under an entry-point group, such as ``unveil.models``::

    [project.entry-points."unveil.models"]
    my_network = "my_package.networks:RECORD"

Nothing of it is imported until that name is asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from unveil.errors import InputError

Value = TypeVar("Value")


class Registry(Mapping[str, Value], Generic[Value]):
    """Values by name; those of installed packages are loaded when they are asked for.

    Args:
        what: One of them, as messages call it: ``"model"``.
        group: Entry-point group of packages that bring more.
        kind: Class of the values.
        name_of: Gives the name of a value.
        builtin: Values that the package brings itself.
    """

    def __init__(
        self,
        what: str,
        group: str,
        kind: type[Value],
        name_of: Callable[[Value], str],
        builtin: Iterable[Value] = (),
    ) -> None:
        self.what, self.group, self.kind, self.name_of = what, group, kind, name_of
        self._values: dict[str, Value] = {}
        for value in builtin:
            assert name_of(value) not in self._values, f"two {what}s are called {name_of(value)}"
            self._values[name_of(value)] = value
        self._builtin = frozenset(self._values)
        self._points: dict[str, EntryPoint] | None = None

    def register(self, value: Value, *, replace: bool = False) -> Value:
        """Add a value.

        Args:
            value: Its name is its own.
            replace: Whether it may take the place of another that was registered; never of a
                built-in one.

        Returns:
            The value.

        Raises:
            InputError: It is of another class, or its name is taken.
        """
        if not isinstance(value, self.kind):
            given = type(value).__name__
            raise InputError(f"a {self.what} is a {self.kind.__name__}, got a {given}")
        name = self.name_of(value)
        taken = name in self._values and self._values[name] is not value
        if taken and (name in self._builtin or not replace):
            raise InputError(f"there is a {self.what} {name!r} already; choose another name")
        self._values[name] = value
        return value

    def unregister(self, name: str) -> None:
        """Take a registered value away; built-in ones stay."""
        if name not in self._builtin:
            self._values.pop(name, None)

    def __getitem__(self, name: str) -> Value:
        """Return a value, loading it from the package that brings it if need be.

        Raises:
            KeyError: There is none of that name.
            InputError: The package that brings it cannot be loaded.
        """
        if name not in self._values:
            self._load(name)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values or (isinstance(name, str) and name in self._offered())

    def __iter__(self) -> Iterator[str]:
        offered = [name for name in self._offered() if name not in self._values]
        return iter([*self._values, *sorted(offered)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def refresh(self) -> None:
        """Look anew at what is installed; a process looks once otherwise."""
        self._points = None

    def _offered(self) -> dict[str, EntryPoint]:
        if self._points is None:
            self._points = {point.name: point for point in entry_points(group=self.group)}
        return self._points

    def _load(self, name: str) -> None:
        point = self._offered().get(name)
        if point is None:
            return
        package = point.dist.name if point.dist else point.value
        try:
            value = point.load()
        # A plug-in is foreign code: whatever it raises is said in its name.
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(
                f"{self.what} {name!r} of the package {package} cannot be loaded ({reason})"
            ) from error
        # Importing the module may have registered it, by a decorator.
        if name not in self._values and isinstance(value, self.kind):
            self.register(value)
        if name not in self._values:
            raise InputError(
                f"{self.what} {name!r} of the package {package} is no {self.kind.__name__} of "
                "that name"
            )
