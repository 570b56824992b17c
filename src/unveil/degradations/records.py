"""What a degradation declares about itself: its function, parameters and presets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.float32]


class Span(NamedTuple):
    """An interval a value is drawn from at every call."""

    low: float
    high: float


class Choice(NamedTuple):
    """Values of which one is drawn at every call."""

    values: tuple[float | str, ...]


Value: TypeAlias = float | str | Span | Choice


class Frame(NamedTuple):
    """Where an image sits inside the photo it was cut from, in pixels.

    Haze needs it: the depth of a crop is a part of the whole photo's depth.

    Attributes:
        top: First row of the image in the photo.
        left: First column of the image in the photo.
        height: Rows of the photo.
        width: Columns of the photo.
        depth: (h, w) of the image itself if known, 1 the farthest.
    """

    top: int
    left: int
    height: int
    width: int
    depth: Image | None = None


@dataclass(frozen=True)
class Parameter:
    """One number of a degradation.

    Attributes:
        name: Name in the short description.
        default: Value where the description is silent.
        low: Smallest value accepted.
        high: Largest value accepted.
        about: Meaning and unit, for help texts.
        integer: Whether only whole numbers are accepted.
        log: Whether a span is drawn uniformly in the logarithm.
    """

    name: str
    default: float
    low: float
    high: float
    about: str
    integer: bool = False
    log: bool = False

    def draw(self, value: Value, rng: np.random.Generator) -> float | str:
        """Turn a value, span or choice into a number; an exact value draws nothing.

        Args:
            value: A number, or the span or choice it is drawn from.
            rng: Source of randomness.
        """
        if isinstance(value, Choice):
            return value.values[int(rng.integers(len(value.values)))]
        if not isinstance(value, Span):
            return value
        if self.integer:
            return float(rng.integers(int(value.low), int(value.high) + 1))
        if self.log and value.low > 0:
            return float(np.exp(rng.uniform(np.log(value.low), np.log(value.high))))
        return float(rng.uniform(value.low, value.high))


@dataclass(frozen=True)
class NamedParameter:
    """One parameter of a degradation whose values are names.

    Attributes:
        name: Name in the short description.
        default: Value where the description is silent.
        names: The values accepted.
        about: Meaning, for help texts.
    """

    name: str
    default: str
    names: tuple[str, ...]
    about: str

    def draw(self, value: Value, rng: np.random.Generator) -> float | str:
        """Turn a value or choice into a name; an exact value draws nothing.

        Args:
            value: A name, or the choice it is drawn from.
            rng: Source of randomness.
        """
        if isinstance(value, Choice):
            return value.values[int(rng.integers(len(value.values)))]
        assert isinstance(value, str)
        return value


AnyParameter: TypeAlias = Parameter | NamedParameter
Side: TypeAlias = Literal["degraded", "both"]


def no_reach(_: Mapping[str, float]) -> float:
    """Return 0: neighbours do not influence a pixel."""
    return 0.0


@dataclass(frozen=True)
class Degradation:
    """One entry of the catalogue.

    Attributes:
        name: Name in the short description, with its kind after a colon if it has kinds.
        apply: ``apply(image, rng, **values) -> image``; with ``frame=`` where `framed`. Images are
            ``(h, w, 3)`` float32 in [0, 1]; `Parameter` says what each value means.
        parameters: What the description may set.
        presets: Named sets of values.
        about: One line for help texts.
        strengths: Argument lists from weak to strong, for contact sheets.
        framed: Whether `apply` takes the position of a crop in its photo.
        reach: From the largest values to how far, in pixels, neighbours influence a pixel.
        side: What the step changes in a training pair unless the description says otherwise: the
            degraded image, or both images alike, as tone and size do.
    """

    name: str
    apply: Callable[..., Image]
    parameters: tuple[AnyParameter, ...] = ()
    presets: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    about: str = ""
    strengths: tuple[str, ...] = ()
    framed: bool = False
    reach: Callable[[Mapping[str, float]], float] = no_reach
    side: Side = "degraded"

    def parameter(self, name: str) -> AnyParameter:
        """Look a parameter up by name.

        Raises:
            KeyError: The degradation has no such parameter.
        """
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)
