"""The scores of an evaluation, and their JSON form."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from unveil.bounded import parse_json, read_text
from unveil.errors import DataError
from unveil.evaluation.extra_metrics import MetricFacts, MetricScores, mean_scores
from unveil.evaluation.images import Case
from unveil.evaluation.patches import Bands
from unveil.evaluation.protocols import ALIASES


@dataclass(frozen=True)
class ImageScore:
    """One image of one case; `input_` is the degraded image scored the same way.

    Attributes:
        bands: By patch: banding of the restored and of the degraded image, levels of 255.
        metrics: By further metric: scores of the restored and of the degraded image.
    """

    name: str
    width: int
    height: int
    psnr: float
    ssim: float
    input_psnr: float
    input_ssim: float
    seconds: float
    bands: Bands = field(default_factory=dict)
    metrics: MetricScores = field(default_factory=dict)


@dataclass(frozen=True)
class CaseResult:
    """All images of one case."""

    case: Case
    images: tuple[ImageScore, ...]

    def mean(self, field: str) -> float:
        """Average a field of `ImageScore` over the images."""
        return math.fsum(getattr(image, field) for image in self.images) / len(self.images)

    def mean_metric(self, name: str) -> tuple[float, ...]:
        """Average a further metric over the images.

        Returns:
            Means for the restored and for the degraded images.
        """
        return mean_scores([image.metrics for image in self.images], name)

    def mean_bands(self, patch: str) -> tuple[float, float]:
        """Average the banding of a patch over the images that have it.

        Returns:
            Levels for the restored and for the degraded images.
        """
        found = [image.bands[patch] for image in self.images if patch in image.bands]
        restored, degraded = (math.fsum(values) / len(found) for values in zip(*found, strict=True))
        return restored, degraded

    @property
    def seconds_per_megapixel(self) -> float:
        """Time in the method alone, over all images."""
        pixels = sum(image.width * image.height for image in self.images)
        return math.fsum(image.seconds for image in self.images) / pixels * 1e6


@dataclass(frozen=True)
class Report:
    """A model under one protocol on one set of images.

    Attributes:
        model: Name given to `load_method`.
        parameters: Their number; None where there is no network.
        digest: Of the weights; empty where there is no network.
        protocol: Its name.
        dataset: Name of the folder.
        images_found: In the folder; `--limit` may have used fewer.
        files_digest: Of the names and contents of the files used.
        seed: Of the degradations.
        cases: One for each noise level, or one.
        environment: Versions and threads.
        selection: Filters on the files' names; empty where the whole folder was used.
        patches: Texts of the parts whose banding was measured.
        metrics: Facts of the further metrics, by name.
    """

    model: str
    parameters: int | None
    digest: str
    protocol: str
    dataset: str
    images_found: int
    files_digest: str
    seed: int
    cases: tuple[CaseResult, ...]
    environment: dict[str, Any]
    selection: str = ""
    patches: tuple[str, ...] = ()
    metrics: dict[str, MetricFacts] = field(default_factory=dict)

    @property
    def images_used(self) -> int:
        """How many images each case scored."""
        return len(self.cases[0].images)

    def to_json(self, protocol_fields: dict[str, object] | None = None) -> dict[str, Any]:
        """Return plain values; a score of infinity becomes None.

        Args:
            protocol_fields: Written beside the protocol's name.
        """
        plain = asdict(self)
        plain["protocol"] = protocol_fields or {"name": self.protocol}
        plain["cases"] = [_case_to_json(result, list(self.metrics)) for result in self.cases]
        return plain if self.metrics else _without(plain, "metrics")

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Report":
        """Rebuild a report from `to_json`'s values.

        Raises:
            DataError: They are not a report's.
        """
        try:
            cases = [_case_values(case) for case in plain["cases"]]
            name = plain["protocol"]["name"]
            values = {**plain, "protocol": ALIASES.get(name, name), "cases": cases}
            report = TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise DataError(f"not the result of an evaluation: {place}: {first['msg']}") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"not the result of an evaluation: {error}") from error
        images = [image for case in report.cases for image in case.images]
        if not images or not all(case.images for case in report.cases):
            raise DataError("not the result of an evaluation: a case without images")
        if any(image.width < 1 or image.height < 1 for image in images):
            raise DataError("not the result of an evaluation: an image without pixels")
        return report

    @classmethod
    def read(cls, path: Path) -> "Report":
        """Read a report's JSON.

        Args:
            path: A result file, or the folder that holds ``results.json``.

        Raises:
            DataError: It is missing, damaged or something else.
        """
        file = path / "results.json" if path.is_dir() else path
        try:
            plain = parse_json(read_text(file, _MOST_BYTES))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{file}: cannot be read as a result: {reason}") from error
        if not isinstance(plain, dict):
            raise DataError(f"{file}: not the result of an evaluation")
        try:
            return cls.from_json(plain)
        except DataError as error:
            raise DataError(f"{file}: {error}") from None


_MOST_BYTES = 256 * 2**20
_MEANS = ("psnr", "ssim", "input_psnr", "input_ssim")


def score_to_json(score: ImageScore) -> dict[str, Any]:
    """Return an image's score as plain values, infinity as None."""
    plain = {key: finite_or_none(value) for key, value in asdict(score).items()}
    return plain if score.metrics else _without(plain, "metrics")


def score_from_json(plain: dict[str, Any]) -> ImageScore:
    """Rebuild a score from `score_to_json`'s values.

    Raises:
        DataError: They are not a score's.
    """
    try:
        return TypeAdapter(ImageScore).validate_python(_finite_again(plain))
    except ValidationError as error:
        raise DataError(f"not a score: {error.errors()[0]['msg']}") from None


def _finite_again(plain: dict[str, Any]) -> dict[str, Any]:
    """Undo `finite_or_none`."""
    return {key: math.inf if value is None else value for key, value in plain.items()}


def _without(plain: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key != name}


def _case_to_json(result: CaseResult, metrics: list[str]) -> dict[str, Any]:
    means = {field: finite_or_none(result.mean(field)) for field in _MEANS}
    for name in metrics:
        for prefix, value in zip(("", "input_"), result.mean_metric(name), strict=True):
            means[f"{prefix}{name}"] = finite_or_none(value)
    return {
        **asdict(result.case),
        "mean": means,
        "seconds_per_megapixel": result.seconds_per_megapixel,
        "images": [score_to_json(image) for image in result.images],
    }


def _case_values(plain: dict[str, Any]) -> dict[str, Any]:
    case = {name: plain[name] for name in ("sigma_255", "degradation")}
    return {"case": case, "images": [_finite_again(image) for image in plain["images"]]}


def finite_or_none(value: Any) -> Any:
    """Return a value as strict JSON can hold it: None for an infinite number.

    >>> finite_or_none(math.inf), finite_or_none(3.5)
    (None, 3.5)
    """
    return None if isinstance(value, float) and math.isinf(value) else value
