"""The degradations by name, and the grammar of short descriptions."""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from unveil.degradations.blur import BLUR
from unveil.degradations.development import DEVELOPMENT
from unveil.degradations.haze import HAZE
from unveil.degradations.jpeg import JPEG
from unveil.degradations.lowlight import LOWLIGHT
from unveil.degradations.noise import NOISE
from unveil.degradations.pipeline import PROBABILITY, SIDE, Pipeline, Step
from unveil.degradations.rain import RAIN
from unveil.degradations.records import (
    AnyParameter,
    Choice,
    Degradation,
    Image,
    NamedParameter,
    Parameter,
    Side,
    Span,
    Value,
    no_reach,
)
from unveil.degradations.sensor import SENSOR
from unveil.errors import InputError
from unveil.plugins import Registry

CATALOGUE = Registry(
    "degradation",
    "unveil.degradations",
    Degradation,
    lambda entry: entry.name,
    (*NOISE, *SENSOR, *RAIN, *HAZE, *BLUR, *JPEG, *LOWLIGHT, *DEVELOPMENT),
)
Apply = TypeVar("Apply", bound=Callable[..., Image])
_NAME = re.compile(r"[a-z][a-z0-9_]*(:[a-z0-9_]+)?")

_MOST_STEPS = 64


def register_degradation(
    name: str,
    *,
    parameters: tuple[AnyParameter, ...] = (),
    presets: Mapping[str, Mapping[str, Value]] | None = None,
    about: str = "",
    strengths: tuple[str, ...] = (),
    reach: Callable[[Mapping[str, float]], float] = no_reach,
    replace: bool = False,
) -> Callable[[Apply], Apply]:
    """Register a degradation under a name, as a decorator of the function that applies it.

    From then on `parse` takes the name, and with it recipes, `unveil degrade` and `--with`.

    Args:
        name: In descriptions, lower case; with its kind after a colon if it has kinds.
        parameters: What a description may set; each is an argument of the function.
        presets: Named sets of values.
        about: One line for help texts.
        strengths: Descriptions' arguments from weak to strong, for contact sheets.
        reach: From the largest values to how far, in pixels, neighbours influence a pixel: crops
            are cut with as much around them.
        replace: Whether another registered one of that name may be replaced; built-in ones never
            are.

    Returns:
        What takes the function ``apply(image, rng, **values) -> image`` and gives it back. Images
        are ``(h, w, 3)`` float32, nominally in [0, 1]; all randomness comes from ``rng``.

    Raises:
        InputError: The name is taken, or none that a description can hold.

    >>> @register_degradation("darker", parameters=(Parameter("by", 0.5, 0, 1, "share taken"),))
    ... def darker(image, rng, by):
    ...     return image * np.float32(1 - by)
    >>> degrade = parse("darker:by=0.25")
    >>> degrade(np.ones((1, 1, 3), np.float32), np.random.default_rng(0)).ravel().tolist()
    [0.75, 0.75, 0.75]
    >>> CATALOGUE.unregister("darker")
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for a degradation: letters, digits and _")

    def decorate(apply: Apply) -> Apply:
        entry = Degradation(
            name=name,
            apply=apply,
            parameters=parameters,
            presets=presets or {},
            about=about or (apply.__doc__ or "").strip().partition("\n")[0],
            strengths=strengths,
            reach=reach,
        )
        CATALOGUE.register(entry, replace=replace)
        return apply

    return decorate


def parse(description: str) -> Pipeline:
    """Read a short description of a degradation.

    Steps are joined by ``+`` and applied from left to right. A step is a name, then after a colon
    a kind or a preset, then ``parameter=value`` pairs, joined by commas or colons. A value is a
    number or a name, a range ``low..high`` of numbers, or alternatives ``a|b|c``; ranges and
    alternatives are drawn at every call. Every step accepts ``p``, the probability that it is
    applied, and ``side``: ``both`` changes the clean image of a training pair in the same way,
    ``degraded`` does not. ``identity`` and the empty text change nothing.

    Args:
        description: For example ``"rain:light+noise:sigma_255=0..55"``.

    Returns:
        What maps an image and a generator to the degraded image.

    Raises:
        InputError: A name is unknown or a value is out of range; the message names the nearest.

    >>> print(parse("noise:sigma_255=15|25|50 + jpeg:quality=20"))
    noise:sigma_255=15|25|50+jpeg:quality=20
    """
    if description.strip() in ("identity", ""):
        return Pipeline()
    if description.count("+") >= _MOST_STEPS:
        raise InputError(f"{description.count('+') + 1} steps; expected {_MOST_STEPS} at most")
    return Pipeline(tuple(_parse_step(text.strip()) for text in description.split("+")))


def _parse_step(text: str) -> Step:
    name, _, rest = text.partition(":")
    name = name.strip()
    # `blur:motion:length=15` reads as naturally as `blur:motion,length=15`.
    words = [word.strip() for word in rest.replace(":", ",").split(",")] if rest.strip() else []
    degradation, preset, words = _find(name, words, text)
    values = dict(preset)
    probability = 1.0
    side: Side | None = None
    seen: set[str] = set()
    for word in words:
        key, equals, raw = (part.strip() for part in word.partition("="))
        if not equals:
            raise InputError(f"got {word!r} in {text!r}, expected parameter=value")
        if key in seen:
            raise InputError(f"{key!r} is given twice in {text!r}; give it once")
        seen.add(key)
        if key == PROBABILITY.name:
            probability = _number(raw, PROBABILITY, text)
        elif key == SIDE.name:
            side = "both" if _name(raw, SIDE, text) == "both" else "degraded"
        else:
            values[key] = _value(raw, _parameter(degradation, key, text), text)
    return Step(degradation, values, probability, side)


def _find(
    name: str, words: list[str], text: str
) -> tuple[Degradation, Mapping[str, Value], list[str]]:
    """Find a step's degradation and preset; the words that are left set parameters."""
    kinds = [entry.partition(":")[2] for entry in CATALOGUE if entry.startswith(f"{name}:")]
    if not kinds and name not in CATALOGUE:
        names = sorted({entry.partition(":")[0] for entry in CATALOGUE} | {"identity"})
        raise InputError(f"unknown degradation {name!r}; {_nearest(name, names)}")
    head = words[0] if words and "=" not in words[0] else None
    if kinds:
        if head not in kinds:
            raise InputError(f"{name!r} needs a kind in {text!r}; {_nearest(head or '', kinds)}")
        return CATALOGUE[f"{name}:{head}"], {}, words[1:]
    degradation = CATALOGUE[name]
    if head is None:
        return degradation, {}, words
    if head not in degradation.presets:
        known = [*degradation.presets, *(f"{p.name}=..." for p in degradation.parameters)]
        raise InputError(f"unknown word {head!r} in {text!r}; {_nearest(head, known)}")
    return degradation, degradation.presets[head], words[1:]


def _parameter(degradation: Degradation, name: str, text: str) -> AnyParameter:
    try:
        return degradation.parameter(name)
    except KeyError:
        known = [*(p.name for p in degradation.parameters), PROBABILITY.name, SIDE.name]
        hint = _nearest(name, known)
        raise InputError(f"unknown parameter {name!r} in {text!r}; {hint}") from None


def _value(raw: str, parameter: AnyParameter, text: str) -> Value:
    if isinstance(parameter, NamedParameter):
        names = tuple(_name(part, parameter, text) for part in raw.split("|"))
        return Choice(names) if len(names) > 1 else names[0]
    if "|" in raw:
        return Choice(tuple(_number(part, parameter, text) for part in raw.split("|")))
    if ".." not in raw:
        return _number(raw, parameter, text)
    low, high = (_number(part, parameter, text) for part in raw.split("..", 1))
    if low > high:
        raise InputError(f"range {raw!r} in {text!r} runs downwards; write {high:g}..{low:g}")
    return Span(low, high)


def _name(raw: str, parameter: NamedParameter, text: str) -> str:
    name = raw.strip()
    if name not in parameter.names:
        hint = _nearest(name, parameter.names)
        raise InputError(f"unknown {parameter.name} {name!r} in {text!r}; {hint}")
    return name


def _number(raw: str, parameter: Parameter, text: str) -> float:
    try:
        number = float(raw)
    except ValueError:
        raise InputError(
            f"{parameter.name}={raw} in {text!r} is not a number, a range low..high or a|b|c"
        ) from None
    if not parameter.low <= number <= parameter.high:
        nearest = parameter.low if number < parameter.low else parameter.high
        raise InputError(
            f"{parameter.name}={raw} in {text!r} is outside {parameter.low:g}..{parameter.high:g} "
            f"({parameter.about}); the nearest is {nearest:g}"
        )
    if parameter.integer and number != int(number):
        raise InputError(f"{parameter.name}={raw} in {text!r} must be a whole number")
    return number


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return which known name is meant, or all of them."""
    known = list(known)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    listed = f"known: {', '.join(known)}"
    return f"did you mean {close[0]!r}? ({listed})" if close else listed
