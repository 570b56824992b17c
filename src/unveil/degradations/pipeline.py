"""Steps in a row: what a short description means."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from unveil.degradations.records import (
    Choice,
    Degradation,
    Frame,
    Image,
    NamedParameter,
    Parameter,
    Side,
    Span,
    Value,
)
from unveil.errors import InputError

__all__ = ["Choice", "Frame", "Pipeline", "Span", "Step"]

PROBABILITY = Parameter("p", 1.0, 0.0, 1.0, "probability that the step is applied")
SIDE = NamedParameter(
    "side", "degraded", ("degraded", "both"), "images of a training pair that the step changes"
)


@dataclass(frozen=True)
class Step:
    """A degradation with its values; those not given have their defaults.

    Attributes:
        degradation: What is done.
        values: By parameter.
        probability: That the step is applied.
        given_side: The side that the description states; None leaves the degradation's own.
    """

    degradation: Degradation
    values: Mapping[str, Value] = field(default_factory=dict)
    probability: float = 1.0
    given_side: Side | None = None

    @property
    def side(self) -> Side:
        """The images of a training pair that the step changes."""
        return self.given_side or self.degradation.side

    @property
    def exact(self) -> bool:
        """Whether nothing but the degradation itself is drawn."""
        return self.probability == 1 and not any(
            isinstance(value, Span | Choice) for value in self.values.values()
        )

    def draw(self, rng: np.random.Generator) -> "Step | None":
        """Fix every value; None where the step is not applied this time."""
        if self.probability < 1 and rng.random() >= self.probability:
            return None
        known = self.degradation.parameters
        drawn = {
            parameter.name: parameter.draw(self.values[parameter.name], rng)
            for parameter in known
            if parameter.name in self.values
        }
        return replace(self, values=drawn, probability=1.0)

    def __call__(self, image: Image, rng: np.random.Generator, frame: Frame | None = None) -> Image:
        """Apply the step; all its values must be exact."""
        values = {p.name: self.values.get(p.name, p.default) for p in self.degradation.parameters}
        if self.degradation.framed:
            return self.degradation.apply(image, rng, frame=frame, **values)
        return self.degradation.apply(image, rng, **values)

    @property
    def reach(self) -> float:
        """How far, in pixels, neighbours influence a pixel, at most."""
        largest = {
            p.name: _largest(self.values.get(p.name, p.default))
            for p in self.degradation.parameters
            if isinstance(p, Parameter)
        }
        return self.degradation.reach(largest)

    def __str__(self) -> str:
        """Write the description that parses to this step."""
        parts = [f"{name}={_text(value)}" for name, value in self.values.items()]
        if self.probability < 1:
            parts.append(f"p={_text(self.probability)}")
        if self.given_side is not None:
            parts.append(f"side={self.given_side}")
        if not parts:
            return self.degradation.name
        # A kind is already written after a colon: `blur:motion,length=9`.
        separator = "," if ":" in self.degradation.name else ":"
        return self.degradation.name + separator + ",".join(parts)


@dataclass(frozen=True)
class Pipeline:
    """Steps applied from left to right; none is the identity.

    >>> from unveil.degradations import parse
    >>> pipeline = parse("noise:sigma_255=0..55+jpeg:quality=40,p=0.5")
    >>> print(pipeline)
    noise:sigma_255=0..55+jpeg:quality=40,p=0.5
    >>> pipeline.margin, pipeline.exact
    (0, False)
    """

    steps: tuple[Step, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether every value is fixed (the noise itself is still drawn)."""
        return all(step.exact for step in self.steps)

    @property
    def margin(self) -> int:
        """Pixels a crop needs around it to be degraded as part of its photo.

        A multiple of 8, so that a crop keeps its place on JPEG's block grid.
        """
        return 8 * ceil(sum(step.reach for step in self.steps) / 8)

    def draw(self, rng: np.random.Generator) -> "Pipeline":
        """Fix every value; what comes back says which were drawn.

        Args:
            rng: Source of randomness.

        Returns:
            An exact pipeline.
        """
        drawn = (step.draw(rng) for step in self.steps)
        return Pipeline(tuple(step for step in drawn if step is not None))

    def __call__(self, image: Image, rng: np.random.Generator, frame: Frame | None = None) -> Image:
        """Degrade an image; the same generator state gives the same bytes.

        Args:
            image: (h, w, 3) float32 in [0, 1].
            rng: Source of randomness, for the values drawn and for the degradations.
            frame: Where the image sits in its photo; None where it is the whole photo.

        Returns:
            (h, w, 3) float32, a new array; only `noise`, and linear steps after it, leave [0, 1].

        Raises:
            InputError: The image is not (h, w, 3) float32.
        """
        _check(image)
        degraded = image.copy() if not self.steps else image
        for step in self.draw(rng).steps:
            degraded = step(degraded, rng, frame)
        return image.copy() if degraded is image else degraded

    def pair(
        self,
        image: Image,
        rng: np.random.Generator,
        frame: Frame | None = None,
        *,
        truth: Image | None = None,
    ) -> tuple[Image, Image]:
        """Degrade an image and bring its truth along.

        Steps of side ``both`` change the truth too, with the same draws: a gray photograph with
        noise has a gray truth, a darker tone curve after rain darkens the scene behind it. The
        degraded image is the one that calling the pipeline returns.

        Args:
            image: (h, w, 3) float32 in [0, 1].
            rng: Source of randomness.
            frame: Where the image sits in its photo; None where it is the whole photo.
            truth: Same shape, where the image is degraded already; None takes the image itself.

        Returns:
            The degraded image and its truth, each (h, w, 3) float32.

        Raises:
            InputError: The image is not (h, w, 3) float32.

        >>> from unveil.degradations import parse
        >>> red = np.zeros((8, 8, 3), np.float32) + np.float32([0.9, 0.1, 0.1])
        >>> noisy, truth = parse("gray+noise:sigma_255=25").pair(red, np.random.default_rng(0))
        >>> bool(np.ptp(truth) < 1e-6), bool(np.ptp(noisy) > 0.1)
        (True, True)
        """
        _check(image)
        target = image if truth is None else truth
        degraded = image
        for step in self.draw(rng).steps:
            if step.side == "degraded":
                degraded = step(degraded, rng, frame)
            elif degraded is target:
                degraded = target = step(degraded, rng, frame)
            else:
                same = deepcopy(rng)
                degraded, target = step(degraded, rng, frame), step(target, same, frame)
        return (image.copy() if degraded is image else degraded), target

    def __add__(self, other: "Pipeline") -> "Pipeline":
        """Put another pipeline's steps after these."""
        return Pipeline(self.steps + other.steps)

    def on_both_sides(self) -> "Pipeline":
        """Let every step change the truth of a training pair, too.

        >>> from unveil.degradations import parse
        >>> print(parse("tone:ev=-1+jpeg:quality=90").on_both_sides())
        tone:ev=-1+jpeg:quality=90,side=both
        """
        return Pipeline(
            tuple(
                step if step.side == "both" else replace(step, given_side="both")
                for step in self.steps
            )
        )

    def __str__(self) -> str:
        """Write the description that parses to this pipeline."""
        return "+".join(map(str, self.steps)) if self.steps else "identity"


def _check(image: Image) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.float32:
        raise InputError(
            f"got an image of shape {image.shape} and type {image.dtype}, "
            "expected (h, w, 3) float32 in [0, 1]; repeat gray and divide by the range"
        )


def _largest(value: Value) -> float:
    if isinstance(value, Choice):
        return max(map(float, value.values))
    return value.high if isinstance(value, Span) else float(value)


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Choice):
        return "|".join(map(_text, value.values))
    if isinstance(value, Span):
        return f"{_text(value.low)}..{_text(value.high)}"
    return repr(float(value)).removesuffix(".0")
