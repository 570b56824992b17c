"""What a training or test set consists of: photos of a task and how they are degraded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unveil.data.generated import generated_kinds
from unveil.data.pairing import (
    Matching,
    Pair,
    Patterns,
    existing_folder,
    list_images,
    match_pairs,
    usual_layouts,
)
from unveil.degradations import Pipeline, parse
from unveil.errors import DataError

Degradations = tuple[tuple[Pipeline, float], ...]


@dataclass(frozen=True)
class Source:
    """Photos of one task.

    Attributes:
        task: Name of the task, handed on with every sample.
        pairs: Clean photos, with their degraded versions if the set is paired.
        degradations: For clean photos: pipelines with the share of samples each is used for.
            For pairs: what the degraded photo goes through in addition, often nothing.
        weight: Share of samples drawn from this source, relative to the other sources.
        shrink: Largest factor by which a clean photo is shrunk before a patch is cut and degraded,
            drawn anew for each sample, uniformly in its logarithm from 1: a patch then shows more
            of the scene, which haze needs.
        generated: In place of files: kinds of pictures drawn anew for each sample, all alike often.
        without_clean: Degraded files whose clean partner is missing.
        without_degraded: Clean files whose degraded partner is missing.
        ambiguous: Degraded files with several clean partners to choose from.
        layout: By which the pairs were matched; empty for clean photos.
    """

    task: str
    pairs: tuple[Pair, ...]
    degradations: Degradations = ()
    weight: float = 1.0
    shrink: float = 1.0
    generated: tuple[str, ...] = ()
    without_clean: tuple[Path, ...] = ()
    without_degraded: tuple[Path, ...] = ()
    ambiguous: tuple[Path, ...] = ()
    layout: str = ""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise DataError(f"task {self.task!r} has weight {self.weight}, expected above 0")
        if any(not share > 0 for _, share in self.degradations):
            raise DataError(f"task {self.task!r}: every share of a degradation must be above 0")
        if not self.shrink >= 1:
            raise DataError(f"task {self.task!r} shrinks by {self.shrink}, expected 1 or more")
        if self.shrink > 1 and any(pair.degraded is not None for pair in self.pairs):
            raise DataError(
                f"task {self.task!r}: pairs cannot be shrunk, it would alter what degraded them"
            )
        if self.generated and (self.pairs or self.shrink > 1):
            raise DataError(f"task {self.task!r}: generated pictures have neither files nor shrink")

    @property
    def files(self) -> list[Path]:
        """Every image file, once, in order."""
        both = (path for pair in self.pairs for path in (pair.clean, pair.degraded))
        return list(dict.fromkeys(path for path in both if path is not None))


def clean_source(
    folder: str | Path,
    degradation: str | Mapping[str, float],
    *,
    task: str = "restore",
    weight: float = 1.0,
    shrink: float = 1.0,
    include: Patterns = None,
    exclude: Patterns = None,
) -> Source:
    """Take the photos of a folder as clean, and degrade them on the fly.

    Args:
        folder: Searched recursively; ``$VARIABLES`` are expanded.
        degradation: A short description, see `unveil.degradations.parse`, or several with the
            share of samples each is used for: ``{"noise:sigma_255=0..55": 9, "identity": 1}``.
        task: Name of the task.
        weight: Share of samples drawn from this source, relative to others.
        shrink: Largest factor by which photos are shrunk at random before degrading.
        include: Keep only files whose name matches a shell pattern, or one of several.
        exclude: Leave out files whose name matches a shell pattern, or one of several.

    Returns:
        The source.

    Raises:
        DataError: The folder is missing or holds no image.
        InputError: A description cannot be read.
    """
    files = list_images(folder, include=include, exclude=exclude)
    if not files:
        raise DataError(f"{folder}: no image files; check the folder and the name filters")
    root = existing_folder(folder)
    return Source(
        task,
        tuple(Pair(path, None, path.relative_to(root).as_posix()) for path in files),
        _pipelines(degradation),
        weight,
        shrink,
    )


def _pipelines(degradation: str | Mapping[str, float]) -> Degradations:
    shares = {degradation: 1.0} if isinstance(degradation, str) else degradation
    return tuple((parse(text), float(share)) for text, share in shares.items())


def generated_source(
    kinds: str | Sequence[str],
    degradation: str | Mapping[str, float] = "identity",
    *,
    task: str = "restore",
    weight: float = 1.0,
) -> Source:
    """Draw clean pictures: flat areas, gradients, patterns, pages.

    Args:
        kinds: Names among `unveil.data.GENERATED`, or ``"any"`` for all.
        degradation: As in `clean_source`.
        task: Name of the task.
        weight: Share of samples drawn from this source, relative to others.

    Returns:
        The source.

    Raises:
        DataError: A kind is unknown.
        InputError: A description cannot be read.

    >>> generated_source(["flat", "text"], "noise:sigma_255=0..5").generated
    ('flat', 'text')
    """
    return Source(
        task, (), _pipelines(degradation), weight=weight, generated=generated_kinds(kinds)
    )


def paired_source(
    folder: str | Path,
    layout: str | None = None,
    *,
    degradation: str | Mapping[str, float] | None = None,
    task: str = "restore",
    weight: float = 1.0,
    include: Patterns = None,
    exclude: Patterns = None,
) -> Source:
    """Take the pairs of a folder.

    Args:
        folder: Holds degraded and clean photos; ``$VARIABLES`` are expanded.
        layout: How they correspond, see `match_pairs`; None finds the usual layouts.
        degradation: What the degraded photos go through in addition, as in `clean_source`.
        task: Name of the task.
        weight: Share of samples drawn from this source, relative to others.
        include: Keep only degraded files whose name matches a shell pattern, or one of several.
        exclude: Leave out degraded files whose name matches a shell pattern, or one of several.

    Returns:
        The source; files without partner are listed in it, and `check_sources` reports them.

    Raises:
        DataError: The folder is missing or no file has a partner.
        InputError: A description cannot be read.
    """
    matching = match_pairs(folder, layout, include=include, exclude=exclude)
    source = _from_matching(matching, folder, task, weight, asked=layout is not None)
    return source if degradation is None else replace(source, degradations=_pipelines(degradation))


def _from_matching(
    matching: Matching, folder: str | Path, task: str, weight: float, *, asked: bool
) -> Source:
    if not matching.pairs:
        example = matching.without_clean[:1] or matching.without_degraded[:1]
        hint = f", for example {example[0]} has no partner" if example else ""
        if matching.ambiguous:
            hint = f", for example {matching.ambiguous[0]} has several partners"
        advice = (
            f"under the layout {matching.layout!r}"
            if asked
            else 'give a layout "DEGRADED -> CLEAN"'
        )
        raise DataError(f"{folder}: no pairs{hint}; {advice}")
    return Source(
        task,
        matching.pairs,
        weight=weight,
        without_clean=matching.without_clean,
        without_degraded=matching.without_degraded,
        ambiguous=matching.ambiguous,
        layout=matching.layout,
    )


def promptir_sources(root: str | Path) -> tuple[Source, ...]:
    """Read the training tree that PromptIR and AirNet use, as it is.

    ``Denoise/*`` (clean; 8-bit noise of sigma 15, 25 or 50 is added), ``Derain/rainy`` with
    ``Derain/gt`` (``rain-1`` to ``norain-1``), ``Dehaze/synthetic`` with ``Dehaze/original``
    (``part1/0001_0.8_0.2`` to ``0001``). Tasks that are missing are left out.

    Args:
        root: The folder ``Train``, or the one that holds it.

    Returns:
        One source per task found, weighted as in the papers' epoch: a clean photo counts nine
        times (three per sigma), a rain pair 200 times, a haze pair once.

    Source: MTAIR, arXiv 2412.15845, its training lists.

    Raises:
        DataError: None of the three tasks is there.
    """
    base = existing_folder(root)
    base = base / "Train" if (base / "Train").is_dir() else base
    sources: list[Source] = []
    if (base / "Denoise").is_dir():
        noise = "noise_uint8:sigma_255=15|25|50"
        sources.append(clean_source(base / "Denoise", noise, task="denoise"))
    sources += [
        paired_source(base / folder, task=task)
        for folder, task in (("Derain", "derain"), ("Dehaze", "dehaze"))
        if (base / folder).is_dir()
    ]
    if not sources:
        raise DataError(f"{base}: expected folders Denoise, Derain or Dehaze inside")
    repeats = {"denoise": 9, "derain": 200, "dehaze": 1}
    return tuple(
        replace(source, weight=float(repeats[source.task] * len(source.pairs)))
        for source in sources
    )


def find_sources(folder: str | Path, layout: str | None = None) -> tuple[Source, ...]:
    """Recognise what a folder holds: PromptIR's tree, pairs in the usual sub-folders, or photos.

    Args:
        folder: To be looked at.
        layout: How pairs correspond, see `match_pairs`; given, the folder must hold pairs.

    Returns:
        Its sources; clean photos come with the identity as degradation.

    Raises:
        DataError: The folder is missing, or holds no image or no pair.
    """
    root = existing_folder(folder)
    if layout is not None:
        return (paired_source(root, layout),)
    trees = (root, root / "Train")
    if any((tree / task).is_dir() for tree in trees for task in ("Denoise", "Derain", "Dehaze")):
        return promptir_sources(root)
    if usual_layouts(root):
        return (paired_source(root),)
    return (clean_source(root, "identity"),)
