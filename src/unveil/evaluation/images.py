"""Test images, read and degraded, the same on every run."""

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unveil.degradations import parse
from unveil.errors import DataError, InputError
from unveil.evaluation.files import Entry, TestSet
from unveil.evaluation.protocols import Image, Protocol
from unveil.imaging import load_rgb
from unveil.imaging.convert import from_levels, to_levels, to_unit


@dataclass(frozen=True)
class Case:
    """One column of the table: how the images of a run are degraded.

    Attributes:
        sigma_255: Level of the protocol's own noise; None without.
        degradation: For clean images, as `unveil.degradations.parse` reads it; None without.
    """

    sigma_255: float | None = None
    degradation: str | None = None

    @property
    def label(self) -> str:
        """Name the case in a table's head: ``σ = 25``, the description, or ``pairs``."""
        if self.sigma_255 is not None:
            return f"σ = {self.sigma_255:g}"
        return self.degradation or "pairs"

    @property
    def key(self) -> str:
        """Name the case in file names and JSON."""
        return f"sigma{self.sigma_255:g}" if self.sigma_255 is not None else self.label


def make_cases(sigmas: Sequence[str], degradations: Sequence[str]) -> list[Case]:
    """Turn what stands on a command line into cases.

    Args:
        sigmas: Noise levels on the 0–255 scale, commas allowed: ``["15,25", "50"]``.
        degradations: Descriptions for `unveil.degradations.parse`.

    Returns:
        One case for each; the pairs as they are when both are empty.

    Raises:
        InputError: A level is not a number, or a case stands there twice.

    >>> [case.label for case in make_cases(["15,25"], [])]
    ['σ = 15', 'σ = 25']
    """
    levels = [level.strip() for text in sigmas for level in text.split(",") if level.strip()]
    try:
        cases = [Case(sigma_255=float(level)) for level in levels]
    except ValueError as error:
        raise InputError(f"noise levels are {','.join(levels)}: expected numbers") from error
    cases += [Case(degradation=text) for text in degradations]
    if len(set(cases)) < len(cases):
        raise InputError("a noise level or degradation is given twice")
    return cases or [Case()]


@dataclass(frozen=True)
class EvaluationImage:
    """A test image, cropped as the protocol says.

    Attributes:
        name: File name without suffix.
        degraded: ``(h, w, 3)`` float32 as the network gets it; float noise leaves [0, 1].
        clean: Same shape, in [0, 1].
    """

    name: str
    degraded: Image
    clean: Image


def evaluation_images(
    test_set: TestSet, protocol: Protocol, case: Case, *, seed: int
) -> Iterator[EvaluationImage]:
    """Yield the test images of one case, in the order of their names.

    Args:
        test_set: The files.
        protocol: Crop and kind of noise.
        case: Noise level or degradation.
        seed: Of all randomness; the protocols' authors use 0.

    Yields:
        Samples; the same arguments give the same bytes.

    Raises:
        DataError: A pair differs in size or an image is smaller than the crop.
        ImageFileError: A file cannot be read.
        InputError: The degradation's description is not understood.
    """
    degrade = _Degrader(protocol, case, seed)
    for entry in test_set.entries:
        clean, degraded = _pair(entry, protocol)
        if degraded is None:
            degraded, clean = degrade(clean, entry.name)
        yield EvaluationImage(entry.name, degraded, clean)


def check_images(test_set: TestSet, protocol: Protocol) -> None:
    """Read every file once, so that a bad one is reported before hours of work, not after.

    Args:
        test_set: The files.
        protocol: Its crop must fit.

    Raises:
        DataError: A pair differs in size or an image is smaller than the crop.
        ImageFileError: A file cannot be read.
    """
    for entry in test_set.entries:
        _pair(entry, protocol)


class _Degrader:
    """Maps (clean, name) to degraded and truth; uint8 noise depends on the order of the calls."""

    def __init__(self, protocol: Protocol, case: Case, seed: int) -> None:
        self._noise = protocol.noise
        self._seed = seed
        self._sigma = case.sigma_255
        self._pipeline = parse(case.degradation) if case.degradation else None
        # The legacy generator: its stream is the one the protocols' authors drew from.
        self._stream = np.random.RandomState(seed)

    def __call__(self, clean: Image, name: str) -> tuple[Image, Image]:
        if self._pipeline is not None:
            # Keyed by name, so that an image added to the folder leaves the others as they were.
            key = zlib.crc32(os.fsencode(name))
            return self._pipeline.pair(clean, np.random.default_rng([self._seed, key]))
        if self._sigma is None:
            raise InputError("clean images need a noise level or a degradation")
        if self._noise in ("float", "gray"):
            same = np.random.RandomState(self._seed)
            clean = _gray(clean) if self._noise == "gray" else clean
            shape = (*clean.shape[:2], 1) if self._noise == "gray" else clean.shape
            noise = same.normal(0, self._sigma / 255, shape)
            return np.asarray(clean + noise, np.float32), clean
        noise = self._stream.standard_normal(clean.shape) * self._sigma
        noisy = np.floor(np.clip(to_levels(clean) + noise, 0, 255))
        return from_levels(noisy), clean


def _gray(image: Image) -> Image:
    """Make the channels equal; an image whose channels are equal stays as it is."""
    if np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(
        image[..., 0], image[..., 2]
    ):
        return image
    luma = to_levels(image.astype(np.float64)) @ np.array([0.299, 0.587, 0.114])
    return np.repeat(from_levels(np.rint(luma))[..., None], 3, axis=2)


def _pair(entry: Entry, protocol: Protocol) -> tuple[Image, Image | None]:
    """Read an entry's clean image, and its degraded one where there is a file."""
    clean = _read(protocol, entry.clean)
    if entry.degraded is None:
        return clean, None
    degraded = _read(protocol, entry.degraded)
    if degraded.shape != clean.shape:
        raise DataError(
            f"{entry.degraded} is {_size(degraded)} and {entry.clean} {_size(clean)}:"
            " the images of a pair must have one size"
        )
    return clean, degraded


def _read(protocol: Protocol, path: Path) -> Image:
    image = to_unit(load_rgb(path))
    cropped = protocol.crop(image)
    if cropped.size == 0:
        raise DataError(
            f"{path} is {_size(image)}: {protocol.name} needs sides of {protocol.crop_multiple}"
        )
    return np.ascontiguousarray(cropped)


def _size(image: Image) -> str:
    return f"{image.shape[1]}×{image.shape[0]}"
