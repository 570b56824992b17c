"""Run an evaluation: protocol × images × method → report."""

import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from unveil._version import __version__, library_version
from unveil.data.pairing import Patterns, existing_folder
from unveil.errors import DataError, InputError, OutputError
from unveil.evaluation.crops import crop_path, save_crop
from unveil.evaluation.extra_metrics import MetricScores, facts_of, measure
from unveil.evaluation.files import TestSet, find_test_set
from unveil.evaluation.images import Case, EvaluationImage, check_images, evaluation_images
from unveil.evaluation.methods import Method
from unveil.evaluation.patches import Bands, Patch, check_patches, measure_bands
from unveil.evaluation.protocols import Image, Protocol
from unveil.evaluation.report import CaseResult, ImageScore, Report
from unveil.evaluation.score_journal import ScoreJournal
from unveil.metrics import Metric

OnImage = Callable[[int, int, Case, ImageScore], None]


def evaluate(
    method: Method,
    protocol: Protocol,
    data: Path,
    *,
    cases: Sequence[Case] = (Case(),),
    layout: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    include: Patterns = None,
    exclude: Patterns = None,
    patches: Sequence[Patch] = (),
    metrics: Sequence[Metric] = (),
    output: Path | None = None,
    force: bool = False,
    on_image: OnImage | None = None,
) -> Report:
    """Score a method on a folder of images.

    Args:
        method: From `load_method`.
        protocol: From `protocol_named`.
        data: Folder of clean images or pairs.
        cases: Noise levels (`Case(sigma_255=25)`), or degradations of clean images
            (`Case(degradation="rain:heavy")`); the default takes pairs as they are.
        layout: How the files of pairs correspond; None finds the usual folders and names.
        seed: Of the noise; the protocols' authors use 0.
        limit: Score the first so many images.
        include: Score only files whose name matches a shell pattern, or one of several.
        exclude: Leave out files whose name matches a shell pattern, or one of several.
        patches: Parts of the images to measure banding on, from `parse_patch`.
        metrics: Further ones, from `unveil.metrics.metric_named`.
        output: Folder that keeps each score and crop as it comes; called again with the same
            arguments, the run goes on from there.
        force: Throw away what another run left in `output`.
        on_image: Called with (images done, images in all, case, score) after each.

    Returns:
        All scores.

    Raises:
        DataError: The folder cannot be used.
        ImageFileError: An image cannot be read.
        InputError: The cases do not fit the protocol.
        OutputError: `output` cannot be used, or lies in `data`.
    """
    _check_cases(protocol, cases)
    if output is not None and output.resolve().is_relative_to(existing_folder(data).resolve()):
        raise OutputError(
            f"{output} lies in {data}: what is written there would count as test images; choose a "
            "folder outside"
        )
    synthetic = any(case.degradation for case in cases)
    test_set = find_test_set(
        data,
        protocol,
        clean_only=synthetic,
        layout=layout,
        limit=limit,
        include=include,
        exclude=exclude,
    )
    _check_set(test_set, cases)
    check_patches(patches, [entry.name for entry in test_set.entries])
    check_images(test_set, protocol)
    report = Report(
        model=method.name,
        parameters=method.parameters,
        digest=method.digest,
        protocol=protocol.name,
        dataset=test_set.name,
        images_found=test_set.found,
        files_digest=test_set.digest,
        seed=seed,
        cases=(),
        environment={**_environment(), "device": method.device},
        selection=test_set.selection,
        patches=tuple(patch.text for patch in patches),
        metrics=facts_of(metrics),
    )
    journal = ScoreJournal(output, _run(report, cases), force=force) if output else None
    total = len(cases) * len(test_set.entries)
    results: list[CaseResult] = []
    for number, case in enumerate(cases):
        images: list[ImageScore] = []
        for sample in evaluation_images(test_set, protocol, case, seed=seed):
            images.append(_score(method, protocol, case, sample, patches, metrics, journal, output))
            if on_image:
                done = number * len(test_set.entries) + len(images)
                on_image(done, total, case, images[-1])
        results.append(CaseResult(case, tuple(images)))
    return replace(report, cases=tuple(results))


def _check_cases(protocol: Protocol, cases: Sequence[Case]) -> None:
    if not cases:
        raise InputError("no cases to evaluate")
    for case in cases:
        if case.sigma_255 is not None and not 0 <= case.sigma_255 < math.inf:
            raise InputError(f"sigma is {case.sigma_255:g}: expected 0 or more, on the 0–255 scale")
        if case.degradation and (protocol.noise in ("float", "gray") or case.sigma_255 is not None):
            raise InputError(
                f"{protocol.name} adds its own noise: give --sigma, or --with under paired-rgb"
            )
        if protocol.noise is None and case.sigma_255 is not None:
            raise InputError(f"{protocol.name} adds no noise: leave --sigma out")


def _check_set(test_set: TestSet, cases: Sequence[Case]) -> None:
    for case in cases:
        if test_set.paired and case.sigma_255 is not None:
            raise InputError(f"{test_set.name} holds pairs: leave --sigma out")
        if not test_set.paired and case == Case():
            raise InputError(
                f"{test_set.name} holds clean images: give --sigma, e.g. --sigma 15,25,50"
            )


def _score(
    method: Method,
    protocol: Protocol,
    case: Case,
    sample: EvaluationImage,
    patches: Sequence[Patch],
    metrics: Sequence[Metric],
    journal: ScoreJournal | None,
    output: Path | None,
) -> ImageScore:
    known = journal.scores.get((case.key, sample.name)) if journal else None
    # A copied result may lack its crops: then the image is scored anew.
    if known and output and crop_path(output, case.key, sample.name).is_file():
        return known
    start = time.perf_counter()
    restored = method(sample.degraded, case.sigma_255)
    seconds = time.perf_counter() - start
    try:
        ours = protocol.score(restored, sample.clean)
        unchanged = restored is sample.degraded
        given = ours if unchanged else protocol.score(sample.degraded, sample.clean)
        bands, further = _measure_more(patches, metrics, protocol, sample, restored)
    except InputError as error:
        raise DataError(f"{sample.name}: {error}") from error
    height, width = sample.clean.shape[:2]
    score = ImageScore(
        name=sample.name,
        width=width,
        height=height,
        psnr=ours.psnr,
        ssim=ours.ssim,
        input_psnr=given.psnr,
        input_ssim=given.ssim,
        seconds=seconds,
        bands=bands,
        metrics=further,
    )
    if journal and output:
        # The crop first: a score in the journal promises that its crop is there.
        save_crop(output, case.key, sample, restored)
        journal.add(case.key, score)
    return score


def _measure_more(
    patches: Sequence[Patch],
    metrics: Sequence[Metric],
    protocol: Protocol,
    sample: EvaluationImage,
    restored: Image,
) -> tuple[Bands, MetricScores]:
    """Measure bands and further metrics, on images as the protocol scores them."""
    if not patches and not metrics:
        return {}, {}
    images = (restored, sample.degraded, sample.clean)
    ours, given, truth = (protocol.as_scored(image) for image in images)
    bands = measure_bands(patches, sample.name, ours, given, truth)
    return bands, measure(metrics, ours, given, truth)


def _run(report: Report, cases: Sequence[Case]) -> dict[str, Any]:
    """What makes old scores valid: all but speed and versions."""
    plain = {key: value for key, value in asdict(report).items() if key != "environment"}
    plain["patches"] = list(report.patches)
    if not report.metrics:
        del plain["metrics"]
    return {**plain, "cases": [asdict(case) for case in cases], "unveil": __version__}


def _environment() -> dict[str, Any]:
    import torch  # noqa: PLC0415

    libraries = {name: library_version(name) for name in ("torch", "numpy", "scikit-image")}
    return {
        "unveil": __version__,
        "python": platform.python_version(),
        **libraries,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }
