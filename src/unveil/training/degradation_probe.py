"""Fit the degradation estimate of an all-in-one network: the last step of its training.

Clean photographs are degraded with noise, rain, haze, noise on top of rain or haze, or left clean,
some of them gray, dim, faded, soft or as a JPEG; drawn pictures stand among the clean ones. A
linear probe is fitted on the network's statistics of crops.

Then task conditioning is chosen against rain and haze: prompt weights set to their mean over such
pictures, or statistics gathered in windows, whichever restores photographs better than the network
alone by more than 0.05 dB; else the task changes nothing.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from unveil.data import draw_generated, generated_kinds
from unveil.degradations import parse
from unveil.degradations.records import Image
from unveil.errors import InputError, UnveilError
from unveil.imaging import load_rgb
from unveil.imaging.convert import to_uint8, to_unit
from unveil.inference import Restorer
from unveil.inference.diagnosis import (
    LinearProbe,
    fit_probe,
    mixer_names,
    read_probe,
    store_probe,
)
from unveil.inference.tiling import TiledInference
from unveil.layers.statistics import GlobalStatistics
from unveil.metrics import psnr
from unveil.models.checkpoint import WEIGHTS_NAME
from unveil.training.run_directory import BEST
from unveil.training.session import Session

# Weaker noise of an 8-bit picture cannot be seen: the picture counts as clean.
_LEAST_SIGMA_255 = 2.5
_GAUSSIAN = "noise_uint8:sigma_255={sigma}"
_CAMERA = "camera:shot=0.0005..0.012,read=0.0005..0.008,correlation=0..1,common=0..0.8"
_STEPS = {
    "noise": (_GAUSSIAN, _GAUSSIAN, _GAUSSIAN + ",common=0..1", _CAMERA, "sensor:any"),
    "gray": ("gray",),
    # The noise of a black-and-white photograph: equal in all channels.
    "equal": (_GAUSSIAN + ",common=1",),
    "rain": ("rain:light", "rain:heavy", "rain:streaks", "rain:layer", "rain:sheet"),
    "haze": ("haze:light", "haze:beta=0.8..3.5,airlight=0.7..0.95"),
    "jpeg": ("jpeg:quality=70..95",),
    "soft": ("soft:sigma=0.5..3",),
    "tone": ("tone:any", "tone:dim", "tone:high_key", "tone:low_key", "tone:flat", "tone:faded"),
}
# In turn: what is done to a photograph. Only noise, rain and haze are degradations here; a drawn
# picture takes the photograph's place.
_KINDS: tuple[tuple[str, ...], ...] = (
    (), ("noise",), ("rain",), ("haze",), ("rain", "noise"), ("haze", "noise"), ("jpeg",),
    ("gray",), ("gray", "equal"), ("noise",), (), ("rain",), ("haze",), ("tone",), ("drawn",),
    ("tone", "noise"), ("soft",), ("rain", "jpeg"), ("haze", "jpeg"), ("drawn",), ("tone", "soft"),
)  # fmt: skip
_HELD_OUT_KINDS: tuple[tuple[str, ...], ...] = (
    (), ("noise",), ("rain",), ("haze",), ("tone",), ("drawn",), ("gray", "equal"),
)  # fmt: skip
_CROPS = (128, 192, 192, 256)
_TASKS = {"rain": ("rain:light", "rain:heavy"), "haze": ("haze:light", "haze:heavy")}
_WINDOWS = (96, 128, 192)
_LEAST_GAIN = 0.05
# Photographs that the probe is fitted and tested on, and that conditioning is chosen on.
MOST_PHOTOGRAPHS, _MOST_HELD_OUT, _MOST_TRIED = 200, 48, 6
_FEWEST_PHOTOGRAPHS = 16
_ALL_TASKS = {"denoise", "derain", "dehaze"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeExample:
    """A picture with known degradations, and the network's statistics of it.

    Attributes:
        steps: What was done to the photograph.
        types: Its degradations: noise, rain, haze.
        sigma_255: Noise level; 0 without noise.
        statistics: Of the degraded picture.
    """

    steps: tuple[str, ...]
    types: frozenset[str]
    sigma_255: float
    statistics: GlobalStatistics


@dataclass(frozen=True)
class FittedProbe:
    """A probe with what it was tested on.

    Attributes:
        probe: As it is stored in the weights file.
        restorer: Of the network.
        held_out: Examples that it was not fitted on.
        scores: PSNR in dB by type of degradation and conditioning.
    """

    probe: LinearProbe
    restorer: Restorer
    held_out: tuple[ProbeExample, ...]
    scores: dict[str, dict[str, float]]


def fit_all(session: Session, out: Path) -> None:
    """Fit the degradation estimates of a finished run's weights, where they belong and are missing.

    They belong to networks with prompts that were trained on noise, rain and haze. What keeps one
    from being fitted is logged: the weights are good without it.

    Args:
        session: The run.
        out: Its directory.
    """
    trained = {source.task for source in session.recipe.data.train}
    if not mixer_names(session.network) or not trained >= _ALL_TASKS:
        return
    files = dict.fromkeys(pair.clean for source in session.dataset.sources for pair in source.pairs)
    photographs = list(files)
    for folder in (out, out / BEST):
        weights = folder / WEIGHTS_NAME
        try:
            if not weights.exists() or read_probe(weights) is not None:
                continue
            if len(photographs) < _FEWEST_PHOTOGRAPHS:
                _log.warning(
                    "%d photographs are too few for a degradation estimate", len(photographs)
                )
                return
            _log.info("fitting the degradation estimate of %s", weights)
            fit_degradation_probe(weights, photographs)
        except UnveilError as error:
            _log.warning("no degradation estimate was fitted: %s", error)


def fit_degradation_probe(
    weights: Path,
    photographs: Sequence[Path],
    held_out: Sequence[Path] = (),
    *,
    per_photo: int = 6,
    held_out_crop: int = 256,
    tried: Sequence[Path] | None = None,
) -> FittedProbe:
    """Fit a linear probe and task conditioning, and store both in a weights file.

    Args:
        weights: Of an all-in-one network.
        photographs: Clean ones to fit on; at most `MOST_PHOTOGRAPHS` are taken, evenly.
        held_out: Clean ones to test on; every fifth of `photographs` where there are none.
        per_photo: Pictures made of each.
        held_out_crop: Side of crops of those to test on; 0 takes them whole.
        tried: Clean ones that conditioning is chosen on; some of `photographs` by default.

    Raises:
        InputError: There are too few photographs.
        CheckpointError: The file is not a network's.
        ImageFileError: A photograph cannot be read.
    """
    restorer = Restorer(weights)
    paths = spread(photographs, MOST_PHOTOGRAPHS)
    held = spread(held_out, _MOST_HELD_OUT) or paths[::5]
    fitting = [path for path in paths if path not in held]
    if not fitting:
        raise InputError("no photographs to fit on are left: name more, or others to hold out")
    examples = _probe_examples(restorer, fitting, _KINDS, per_photo=per_photo, crops=_CROPS, seed=0)
    tests = tuple(
        _probe_examples(
            restorer,
            held,
            _HELD_OUT_KINDS,
            per_photo=len(_HELD_OUT_KINDS),
            crops=(held_out_crop,),
            seed=1,
        )
    )
    probe = fit_probe(
        restorer.loaded.network,
        ((e.statistics, e.types, e.sigma_255) for e in examples),
        held_out=((e.statistics, e.types, e.sigma_255) for e in tests),
    )
    tried = spread(photographs, _MOST_TRIED) if tried is None else tried
    probe, scores = _choose_conditioning(restorer, probe, tried)
    store_probe(weights, probe)
    return FittedProbe(probe, restorer, tests, scores)


def spread(paths: Sequence[Path], most: int) -> list[Path]:
    """Return at most so many of the paths, evenly.

    Args:
        paths: In order.
        most: How many at the most.

    >>> [path.name for path in spread([Path("a"), Path("b"), Path("c")], 2)]
    ['a', 'c']
    """
    places = np.linspace(0, len(paths) - 1, min(most, len(paths))).astype(int)
    return [paths[i] for i in places]


def _probe_examples(
    restorer: Restorer,
    paths: Sequence[Path],
    kinds: Sequence[tuple[str, ...]],
    *,
    per_photo: int,
    crops: Sequence[int],
    seed: int,
) -> Iterator[ProbeExample]:
    """Yield, for each photograph degraded in some of the ways, the network's statistics.

    Of each, `per_photo` pictures are made by the `kinds` in turn, cut to a square whose side is
    drawn from `crops`; 0 is the whole photograph.
    """
    rng = np.random.default_rng(seed)
    number = 0
    for path in paths:
        clean = to_unit(load_rgb(path))
        for _ in range(per_photo):
            kind = kinds[number % len(kinds)]
            number += 1
            image: Image = _crop(clean, int(rng.choice(crops)), rng)
            if "drawn" in kind:
                drawn = str(rng.choice(generated_kinds("any")))
                image = draw_generated(drawn, min(image.shape[:2]), rng)
            degraded, types, sigma = degrade(image, kind, rng)
            statistics = restorer.engine.collect_statistics(to_uint8(degraded))
            yield ProbeExample(kind, types, sigma, statistics)


def degrade(
    clean: Image, kind: Sequence[str], rng: np.random.Generator
) -> tuple[Image, frozenset[str], float]:
    """Degrade a photograph.

    Args:
        clean: ``(h, w, 3)`` in [0, 1].
        kind: Steps, keys of `_STEPS` or ``"drawn"``.
        rng: Source of randomness.

    Returns:
        The degraded photograph, its types of degradation, and the noise level that came out.
    """
    image, types, sigma = clean, set(kind) & {"rain", "haze"}, 0.0
    for step in kind:
        before = image
        if step == "drawn":
            continue
        level = float(np.exp(rng.uniform(np.log(4), np.log(55))))
        image = parse(str(rng.choice(_STEPS[step])).format(sigma=level))(image, rng)
        if step in ("noise", "equal"):
            sigma = float(np.std(np.clip(image, 0, 1) - before))
    if sigma * 255 > _LEAST_SIGMA_255:
        types.add("noise")
    return image, frozenset(types), sigma * 255 if "noise" in types else 0.0


def _choose_conditioning(
    restorer: Restorer, probe: LinearProbe, paths: Sequence[Path]
) -> tuple[LinearProbe, dict[str, dict[str, float]]]:
    """Find on clean photographs what helps each task.

    Returns:
        The linear probe with it, and the PSNR of each way in dB, by type of degradation.
    """
    engine = restorer.engine
    windows = dict(probe.windows)
    by_prompts: list[str] = []
    scores: dict[str, dict[str, float]] = {}
    for degradation, descriptions in _TASKS.items():
        means = probe.means.get(degradation, {})
        prompts = {name: torch.tensor([values]) for name, values in means.items()}
        ways = {
            "alone": engine,
            **({"prompts": replace(engine, conditioning=prompts)} if means else {}),
        }
        for side in _WINDOWS:
            ways[str(side)] = replace(engine, tiling=replace(engine.tiling, window=side))
        found = {way: _mean_psnr(ways[way], paths, descriptions) for way in ways}
        best = max(found, key=lambda way: found[way])
        if best != "alone" and found[best] > found["alone"] + _LEAST_GAIN:
            windows |= {} if best == "prompts" else {degradation: int(best)}
            by_prompts += [degradation] if best == "prompts" else []
        scores[degradation] = found
    return replace(probe, windows=windows, by_prompts=tuple(by_prompts)), scores


def _mean_psnr(engine: TiledInference, paths: Sequence[Path], descriptions: Sequence[str]) -> float:
    scores = []
    for number, path in enumerate(paths):
        rng = np.random.default_rng(number)
        clean = _crop(to_unit(load_rgb(path)), 384, rng)
        for description in descriptions:
            degraded = np.clip(parse(description)(clean, rng), 0, 1).astype(np.float32)
            restored = np.empty_like(degraded)
            engine.restore(degraded, restored)
            scores.append(psnr(np.clip(restored, 0, 1), clean, data_range=1))
    return float(np.mean(scores))


def _crop(image: Image, side: int, rng: np.random.Generator) -> Image:
    """Cut a square at random; a side of 0 keeps the whole photograph."""
    if side == 0:
        return image
    top, left = (int(rng.integers(0, max(n - side, 0) + 1)) for n in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])
